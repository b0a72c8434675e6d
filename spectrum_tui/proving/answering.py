"""A process that gets one line on stdin, answers in lines on stdout, and ends when stdin closes:
the other side of `process.OwnProcess`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import NoReturn

from spectrum_tui.core.platforms import lower_priority
from spectrum_tui.stdio.streams import own_stdout


def asked() -> tuple[str, int]:
    """Return the line, and the handle that answers go to; what is printed by anybody else goes to
    stderr."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    out = own_stdout()
    lower_priority()  # the keys of the app stay fast while every core computes
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return line, out


def _end_with_parent() -> None:
    sys.stdin.read()
    end(1)


def end(code: int) -> NoReturn:
    """End now."""
    os._exit(code)  # a normal end waits for threads inside a matrix, and takes torch 0.5 s


def unexpected(exc: Exception) -> str:
    """Return in a line what nobody foresaw."""
    said = " ".join(str(exc).split())[:500].rstrip(".")
    return f"Unexpected {type(exc).__name__}: {said}."
