"""What commands print: data on stdout, words on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from spectrum_tui.core.selection import Selection


def put(text: str) -> None:
    """Data, on stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """A line of words, on stderr at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_too_small(selection: Selection, percent: int) -> None:
    """Which types are too small for a percentage, if any are."""
    if text := selection.too_small(percent):
        say(f"note: {text}")


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells])
