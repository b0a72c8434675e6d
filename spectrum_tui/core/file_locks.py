"""Files that tell other processes that somebody is at work: by a lock on them, which the system
gives up with the process. Nobody is stopped by a file alone, and who ends removes it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from spectrum_tui.core import disk
from spectrum_tui.core.platforms import lock


class NoLocksError(OSError):
    """A file system, or a system, that has no locks."""


def take(path: Path) -> int | None:
    """Return the open file at `path`, made where it is missing, with its lock; None where another
    process has that. Raises OSError: NoLocksError where there are none."""
    while True:
        handle = disk.open_kept(path, os.O_RDWR | os.O_CREAT)
        try:
            if not _locked(handle):
                os.close(handle)
                return None
            if _is_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever had the lock has removed the file since it was opened


def give_up(path: Path, handle: int) -> None:
    """Remove a file that `take` has returned, while nobody else has its lock, and close it."""
    try:
        with contextlib.suppress(OSError):  # Windows removes no open file: it stays
            os.unlink(path)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        return lock(handle)
    except OSError as exc:
        raise NoLocksError(*exc.args) from None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
