"""What commands print: data on stdout, words on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable

from spectrum_tui.core.platforms import would_wait
from spectrum_tui.core.text import printable_json, safe, safe_lines, shortened

PROGRAM = "spectrum-tui"
"""What the command is called, in what it says of itself."""


class StreamError(Exception):
    """stdout takes no data (a full disk, closed); the message says why."""


def put(text: str) -> None:
    """Write data to stdout at once; raises StreamError, or BrokenPipeError where the reader
    left."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StreamError(f"Cannot write to stdout: {exc.strerror or exc}.") from exc


def say(text: str) -> None:
    """Write a line of words to stderr at once; whatever is in it, it controls no terminal."""
    draw(f"{shortened(safe(text))}\n")


def put_lines(lines: Iterable[str]) -> None:
    """Lines to read, on stdout at once; whatever is in them, they control no terminal."""
    put("".join(f"{shortened(safe(line))}\n" for line in lines))


def put_json(data: object, *, one_line: bool = False) -> None:
    """JSON on stdout at once."""
    put(f"{printable_json(data, one_line=one_line)}\n")


class PlainStream(io.TextIOWrapper):
    """A stream on which only `draw` controls the terminal: what libraries write, warnings and logs
    with names from files in them, is made printable."""

    def write(self, text: str) -> int:
        """Write text as it may be seen."""
        super().write(safe_lines(text))
        return len(text)

    def draw(self, text: str) -> None:
        """Write our own text as it is."""
        super().write(text)


def plain_stderr() -> PlainStream:
    """Another stderr, for words: Textual draws on the one that Python made."""
    binary = open(2, "wb", closefd=False)  # noqa: SIM115  (what a console of Windows needs, too)
    encoding, errors = sys.stderr.encoding, sys.stderr.errors or "replace"
    return PlainStream(binary, encoding=encoding, errors=errors, line_buffering=True)


def own_stdout() -> int:
    """Return a handle of stdout for what this process itself says; what a library prints there
    goes to stderr from now on, whose text may be read in a terminal."""
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stderr = plain_stderr()
    return out


def draw(text: str) -> None:
    """Text of ours on stderr at once, control characters obeyed. That nobody can read it ends no
    work."""
    stream = sys.stderr
    try:
        if isinstance(stream, PlainStream):
            stream.draw(text)
        else:
            stream.write(text)
        stream.flush()
    except OSError:
        silence(2)


def write_now(text: str) -> None:
    """Text of ours on stderr, past every buffer; nothing where that would wait for a terminal which
    has stalled, or nobody is there."""
    with contextlib.suppress(OSError):
        if not would_wait(2):
            os.write(2, text.encode())


def silence(number: int) -> None:
    """Throw away what is still written to a stream that takes nothing."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def is_served() -> bool:
    """Return whether textual-serve shows the app: it names a driver, and gives the app pipes."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "")
