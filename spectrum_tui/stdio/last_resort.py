"""What holds for every command whatever happens: streams that take any text, one line for what
nobody foresaw, and an exit code that says so."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import IO, NoReturn

from spectrum_tui import __version__
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.files import cache_note
from spectrum_tui.core.logs import keep_log
from spectrum_tui.core.text import safe
from spectrum_tui.stdio.streams import (
    PROGRAM,
    StreamError,
    draw,
    plain_stderr,
    put,
    say,
    silence,
    write_now,
)
from spectrum_tui.stdio.terminal_signals import restore_now

UNEXPECTED = 70
"""EX_SOFTWARE of sysexits.h: what should not have happened did."""
INTERRUPTED = 130


def report_error(error: SpectrumError) -> None:
    """Say an error in one line."""
    say(f"{PROGRAM}: {error}")


def broken_pipe() -> int:
    """Write no more, since the reader of stdout is gone (`| head`); returns the exit code."""
    silence(1)
    return 0


def unexpected(error: BaseException) -> int:
    """Say in one line what nobody foresaw, the traceback in a log. Returns the exit code."""
    if isinstance(error, StreamError):
        silence(1)  # Python's own flush at exit would fail as well
    try:
        log = keep_log("error", _details(error))
        where = f" Details are in {log}." if log else ""
        say(f"{PROGRAM}: {safe(' '.join(_described(error).split()))}{where}")
    except MemoryError:
        write_now(f"{PROGRAM}: Out of memory.\n")
    return UNEXPECTED


def _described(error: BaseException) -> str:
    if isinstance(error, StreamError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"Out of memory. {error}".strip()
    said = str(error)[:500].rstrip(".")
    return f"Unexpected {type(error).__name__}" + (f": {said}." if said else ".")


def _details(error: BaseException) -> str:
    lines = [f"{PROGRAM} {__version__}, Python {sys.version}", f"arguments: {sys.argv[1:]!r}", ""]
    trace = "".join(traceback.format_exception(error)).splitlines()
    return "".join(f"{safe(line)}\n" for line in [*lines, *trace])


# -- the process ------------------------------------------------------------------------------


def prepare() -> None:
    """Make the process's streams take any text, and Ctrl-C end it without a traceback,
    and SIGTERM not without a word."""
    signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _unraisable
    _open_what_is_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        _take_any_text(stream)
    sys.stderr = plain_stderr()


def end(code: int) -> NoReturn:
    """End the process.

    Where torch was imported, its end is not waited for: taking it down takes 0.5 s, and a scan in
    several processes would wait for matrices in work and for connections to processes that are
    gone. Nor is that of Ray, which may wait for an answer without an end. Every file is closed by
    then.
    """
    signal.signal(signal.SIGINT, _end_now)  # a reader that has stalled may hold the flush
    try:
        put("")
    except BrokenPipeError:
        broken_pipe()
    except StreamError as exc:
        silence(1)
        code = unexpected(exc) if code < UNEXPECTED else code  # the first reason counts
    draw("")
    if "torch" in sys.modules or "ray" in sys.modules:
        os._exit(code)
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Say what is kept, and end as without a handler: the status tells a supervisor the signal."""
    restore_now()
    kept = "" if cache_note() else ": everything finished is kept"
    write_now(f"{PROGRAM}: terminated{kept}\n")
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Unwind at the first Ctrl-C, so that half a file is removed; do not wait at the second."""
    signal.signal(signal.SIGINT, _end_now)
    raise KeyboardInterrupt


def _end_now(number: int, frame: FrameType | None) -> None:
    end_now()


def end_now() -> NoReturn:
    """End the process for a Ctrl-C, without waiting for threads that are inside a matrix."""
    restore_now()
    os._exit(INTERRUPTED)


def _unraisable(raised: sys.UnraisableHookArgs) -> None:
    """End the process for a Ctrl-C inside a finaliser or a callback, which would be printed and
    lost."""
    if raised.exc_type is KeyboardInterrupt:
        end_now()
    sys.__unraisablehook__(raised)


def was_interrupted() -> bool:
    """Return whether Ctrl-C was pressed: an import in C turns the KeyboardInterrupt into an error
    of its own."""
    return signal.getsignal(signal.SIGINT) is _end_now


def _open_what_is_closed() -> None:
    """Give 0, 1 and 2 to something: a file opened later would get the number of a closed stream,
    and with it whatever a library prints."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        # stdout is opened for reading, so that data for nobody is an error; words may get lost.
        flags = os.O_WRONLY if number == 2 else os.O_RDONLY
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _take_any_text(stream: IO[str]) -> None:
    """UTF-8 for files and pipes whatever the locale; a terminal shows ? for what it cannot."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:  # a test's own stream
        return
    if stream.isatty():
        reconfigure(errors="replace")
    else:
        reconfigure(encoding="utf-8", errors="surrogateescape")
