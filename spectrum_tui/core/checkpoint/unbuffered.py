"""Reads of a file without a buffer, which would be filled with 128 KiB for every 8 KiB."""

from __future__ import annotations

import errno
import io
import os
from typing import BinaryIO, TypeVar

T = TypeVar("T")


def unbuffered(file: BinaryIO) -> io.FileIO:
    """Return an open file as one whose reads fetch what is asked for; closing it closes nothing."""
    return io.FileIO(file.fileno(), closefd=False)


def answered(found: T | None) -> T:
    """Return what a read without a buffer gave. Raises BlockingIOError for None, as Python has
    EAGAIN: hf-mount's word for "too many requests"."""
    if found is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return found


def next_bytes(file: io.FileIO, count: int) -> bytes:
    """Return the next bytes of a file, fewer where it ends before."""
    found = b""
    while len(found) < count and (piece := answered(file.read(count - len(found)))):
        found += piece
    return found
