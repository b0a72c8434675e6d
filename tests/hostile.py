"""Text that would control a terminal, hide or cannot be encoded; the proof that it does nothing."""

from __future__ import annotations

import unicodedata

ESCAPES = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\x08\x7f"
"""What a terminal obeys: sets the clipboard, clears the screen (C0, DEL and C1)."""
HIDDEN = "\u202e\u2066\u200b\u2028\ufeff\U000e0041\U000e0101"
"""Marks of direction, nothing to see, a line break, bytes in tags and variation selectors."""
HALF = "\udc80\ud800"
LINES = "\r\nspectrum-tui: a line\n"
TEXT = f"<{ESCAPES}{HIDDEN}{LINES}[red]%s{{}}>"
"""Everything that a file, an argument or the environment of a UTF-8 system can hold."""
JSON_TEXT = TEXT + HALF
"""Everything that a JSON string can hold."""
ALLOWED = {"Zs", "Co"}
"""Spaces of any width and private signs are no danger."""


def assert_plain(data: bytes) -> None:
    """Every byte is part of UTF-8 that is seen as itself, or a line break."""
    text = data.decode("utf-8")
    for c in text:
        seen = c == "\n" or c.isprintable() or unicodedata.category(c) in ALLOWED
        assert seen and not "\U000e0000" <= c <= "\U000e0fff", (hex(ord(c)), text)
