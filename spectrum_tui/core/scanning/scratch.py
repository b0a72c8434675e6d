"""Room on the disk for what a scan has fetched and has no memory for.

A wide matrix is scored in strips of columns, each of which needs all rows: the 940 MB of 8,192 rows
of 57,344 numbers are read in 28 passes. They are fetched once and kept in a file of the cache that
has no name, most of which the system holds in memory that it can take back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from spectrum_tui.core import disk

LEFT_FREE = 2**29
"""Bytes that stay free on the disk."""


class Scratch:
    """Places of `length` bytes in a file in `folder`, for several threads; the file is made when
    the first is taken. `full` is called once, where there is no room for one."""

    def __init__(self, folder: Path, length: int, full: Callable[[], None]) -> None:
        self._folder, self._length, self._full = folder, length, full
        self._file: disk.ScratchFile | None = None
        self._free: list[int] = []
        self._count = 0
        self._is_full = self._closed = False
        self._lock = threading.Lock()

    def take(self) -> int:
        """Return the number of a free place; -1 without one."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._is_full or self._closed:
                return -1
            if not self._grows():
                self._refuse()
                return -1
            self._count += 1
            return self._count - 1

    def write(self, place: int, data: memoryview) -> bool:
        """Return whether a place holds the data now; one that does not is not given again."""
        with self._lock:
            try:
                self._opened().write(place * self._length, data)
            except OSError:
                self._refuse()
                return False
            return True

    def read_into(self, place: int, start: int, target: memoryview) -> bool:
        """Fill the buffer from byte `start` of a place; return whether it could be read."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # ValueError: it ends before
            self._opened().read_into(place * self._length + start, target)
            return True
        return False

    def give_back(self, place: int) -> None:
        """Let a place be taken again."""
        with self._lock:
            self._free.append(place)

    def close(self) -> None:
        """Give the disk its room back."""
        with self._lock:
            self._closed = True
            self._free.clear()
            if self._file is not None:
                self._file.close()
            self._file = None

    def _grows(self) -> bool:
        try:
            self._opened()
        except OSError:
            return False
        free = disk.free_space(self._folder)
        return free is None or free >= LEFT_FREE + self._length

    def _opened(self) -> disk.ScratchFile:
        """Return the file; raises OSError, also once it is closed."""
        if self._closed:
            raise OSError("closed")
        if self._file is None:
            self._file = disk.ScratchFile(self._folder)
        return self._file

    def _refuse(self) -> None:
        if not self._is_full:
            self._is_full = True
            self._full()
