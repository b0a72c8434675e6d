"""What commands print: data on stdout, words on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from spectrum_tui.core.selection import Selection


class StreamError(Exception):
    """stdout takes no data (a full disk, closed); the message says why."""


def put(text: str) -> None:
    """Data, on stdout at once; raises StreamError, or BrokenPipeError where the reader left."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StreamError(f"Cannot write to stdout: {exc.strerror or exc}.") from exc


def say(text: str) -> None:
    """A line of words, on stderr at once."""
    draw(f"{text}\n")


def draw(text: str) -> None:
    """Text on stderr at once. That nobody can read it ends no work."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        silence(2)


def silence(number: int) -> None:
    """Throw away what is still written to a stream that takes nothing."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


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
