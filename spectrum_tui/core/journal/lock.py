"""One scan of a model at a time: a lock on a file beside its journal.

The system holds the lock for the process and gives it up when that ends, in whichever way. Whoever
has it removes the file; that of a process that was killed stays for the next one, and stops nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Self

from spectrum_tui.core import disk, file_locks
from spectrum_tui.core.json_text import WRONG_SHAPE
from spectrum_tui.core.text import safe

GRACE = 0.5
"""Seconds in which a scan that was just ended is not taken for another one."""


class ScanLock:
    """The lock of the model that a journal is of, which only the first process of a scan takes."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_suffix(".lock")
        self._handle: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._handle is not None:
            file_locks.give_up(self._path, self._handle)
        self._handle = None

    def take(self) -> bool:
        """Return whether nobody else has it. Where there are no locks, nobody has: without a cache
        that can be written, and on file systems that know none."""
        with contextlib.suppress(OSError):
            disk.make_folder(self._path.parent)
            self._handle = file_locks.take(self._path)
            if self._handle is None:
                return False
            disk.rewrite(self._handle, _this_process())
        return True

    def take_soon(self) -> str:
        """Take the lock; where that fails for `GRACE` seconds, who has it."""
        end = time.monotonic() + GRACE
        while not self.take():
            if time.monotonic() > end:
                return self.holder()
            time.sleep(0.05)
        return ""

    def holder(self) -> str:
        """Who has the lock, as far as can be told."""
        with contextlib.suppress(OSError, *WRONG_SHAPE):
            pid, host, since = json.loads(disk.read_from(self._path))
            clock = time.strftime("%H:%M", time.localtime(float(since)))
            where = "" if host == socket.gethostname() else f" on {safe(str(host))[:60]}"
            return f"process {int(pid)}{where}, since {clock}"
        return "another process"


def _this_process() -> bytes:
    return json.dumps([os.getpid(), socket.gethostname(), time.time()]).encode()
