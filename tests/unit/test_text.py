"""Text that a terminal would act on, made printable."""

from __future__ import annotations

import json

from spectrum_tui.core.text import has_controls, is_seen, printable_json, safe, safe_lines
from tests.hostile import ESCAPES, HALF, HIDDEN


def test_safe() -> None:
    controls = (c for c in ESCAPES if not " " <= c <= "~")
    for hostile in (*controls, *HIDDEN, *HALF, "\n", "\r", "\x00", "\x85", "\u2029"):
        assert safe(f"a{hostile}b") == "a?b"
        assert not is_seen(hostile)
        assert has_controls(hostile)
        assert json.loads(printable_json(hostile)) == hostile
        assert safe(printable_json(hostile)) == printable_json(hostile)
    for harmless in ("höhe", "模型", "🙂", "e\u0301", "[b]", "a b", "x_1", "❤\ufe0f"):
        assert safe(harmless) == harmless
        assert not has_controls(harmless)
        assert printable_json(harmless) == f'"{harmless}"'
    assert safe_lines("a\nb\x1b\n") == "a\nb?\n"
    assert not has_controls("می\u200cخواهم　x")
