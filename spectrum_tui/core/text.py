"""Text that comes out of files and arguments, made safe to print."""

from __future__ import annotations

LONGEST_PATTERN = 1000
"""Characters of a line of a recipe that is looked at at all; a name has a tenth of them."""


def safe(text: str, instead: str = "?") -> str:
    """`text` with `instead` for each control character: a terminal would obey it, and a line
    break would end a comment.

    >>> safe("a\\x1b[2Jb")
    'a?[2Jb'
    """
    return "".join(c if c.isprintable() else instead for c in text)
