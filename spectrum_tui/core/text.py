"""Text that comes out of files, answers and arguments, made safe to print.

What is written to files keeps its names exact: they are escaped there, or refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_PATTERN = 1000
"""Characters of a line of a recipe that is looked at at all; a name has a tenth of them."""
LONGEST_LINE = 10_000
"""Characters of a line that is printed: a path has at most 4,096 bytes, and there may be two."""

_HIDDEN = re.compile("[\U000e0100-\U000e01ef]")
"""Variation selectors that carry bytes nobody sees; Python calls them printable."""
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\U000e0000-\U000e0fff]"
)
_SUSPECT = re.compile(r"[^ -~\n]")


def safe(text: str, instead: str = "?") -> str:
    """`text` with `instead` for each character that is not seen as itself.

    A terminal would obey a control character, a line break would end a comment, marks of
    direction show a name as another one, and halves of surrogate pairs cannot be encoded.

    >>> safe("a\\x1b[2Jb\\u202ec")
    'a?[2Jb?c'
    """
    if text.isprintable() and (text.isascii() or not _HIDDEN.search(text)):
        return text
    return "".join(c if is_seen(c) else instead for c in text)


def is_seen(text: str) -> bool:
    """Return whether every character is seen as itself."""
    return text.isprintable() and not _HIDDEN.search(text)


def has_controls(text: str) -> bool:
    """Return whether there is what a terminal obeys, turns around or cannot encode; joiners, which
    names in some scripts need, and spaces of any kind are none of that."""
    return bool(_CONTROLS.search(text))


def safe_lines(text: str) -> str:
    """`safe` for each line of a text, a long one cut."""
    return "\n".join(shortened(safe(line)) for line in text.split("\n"))


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """Return a line with its middle left out if it is too long to read."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} … {text[-half:]}"


def printable_json(data: Any, *, one_line: bool = False) -> str:
    """JSON that means the same wherever it is read, and that a terminal can show: what is not
    seen as itself is escaped, everything else stays readable."""
    indent = None if one_line else 2
    return _SUSPECT.sub(_escaped, json.dumps(data, indent=indent, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    c = found[0]
    if is_seen(c):
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else json.dumps(c)[1:-1]
