"""Files of a hub that gives no ranges: fetched whole, one or two at a time, and deleted again.

Needs the disk of two shards for each process, which has a folder of its own, and a lock beside it
that tells whether it still runs. Each file is what the hub announced, by its hash, before a byte of
it is used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from spectrum_tui.core import disk, file_locks
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import LocalFiles, Pieces
from spectrum_tui.core.errors import CheckpointError, OutputError, reason_of
from spectrum_tui.core.hub.contents import file_is_blob
from spectrum_tui.core.hub.errors import not_the_file
from spectrum_tui.core.hub.location import RemoteFile
from spectrum_tui.core.hub.ranges import RangeReader

KEPT = 2
"""Files that lie on the disk at the same time, where none is being read beside them."""


_LOCK = ".lock"
_TRIES = 100


class WholeFiles:
    """A source of values that brings the file of a tensor to a folder in `folder` when it is first
    read, and keeps the two that were read last."""

    def __init__(self, reader: RangeReader, folder: Path) -> None:
        self._reader, self._within, self._folder = reader, folder, folder
        self._here: OrderedDict[str, Path] = OrderedDict()
        self._in_use: dict[str, int] = {}
        self._changed = threading.Condition()
        self._coming: set[str] = set()
        self._local = LocalFiles()

    @contextlib.contextmanager
    def opened(self) -> Iterator[WholeFiles]:
        """Have a folder of its own, and take it away with all that is in it at the end."""
        try:
            disk.make_folder(self._within)
            self._folder, handle = _own_folder(self._within)
        except OSError as exc:
            raise _unwritable(self._within, exc) from None
        lock = _lock_of(self._folder)
        try:
            yield self
        finally:
            _remove(self._folder)
            if handle is not None:
                file_locks.give_up(lock, handle)
            with contextlib.suppress(OSError):
                disk.remove(lock)

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill the buffers from the file, which is fetched where it is not there."""
        with self._held(tensor.file) as path:
            try:
                self._local.read_into(replace(tensor, file=str(path), state=None), pieces)
            except CheckpointError:  # what was announced had all of its bytes
                raise OutputError(
                    f"{path.parent} has lost files of the model while they were read.",
                    "Scan again, and let nothing else write there.",
                ) from None

    @contextlib.contextmanager
    def _held(self, file: str) -> Iterator[Path]:
        """Keep a file from being deleted while it is read."""
        with self._changed:
            while file in self._coming:
                self._changed.wait()
            bring = file not in self._here
            if bring:
                self._coming.add(file)
            self._in_use[file] = self._in_use.get(file, 0) + 1
        try:
            if bring:
                self._bring(file)
            with self._changed:
                path = self._here[file]
                self._here.move_to_end(file)
            yield path
        finally:
            with self._changed:
                self._in_use[file] -= 1

    def _bring(self, file: str) -> None:
        remote = self._reader.file(file)
        path = self._folder / hashlib.sha256(file.encode()).hexdigest()
        try:
            disk.make_folder(self._folder)
            self._make_room(file)
            self._reader.fetch_whole(file, lambda pieces: disk.replace(path, pieces, None))
            if not _is(remote, path):
                disk.remove(path)
                raise not_the_file(remote.name)
            with self._changed:
                self._here[file] = path
        except OSError as exc:
            raise _unwritable(self._folder, exc) from None
        finally:
            with self._changed:
                self._coming.discard(file)
                self._changed.notify_all()

    def _make_room(self, wanted: str) -> None:
        """Delete what was read longest ago, so that with `wanted` two are there."""
        with self._changed:
            for file in list(self._here):
                if len(self._here) < KEPT:
                    return
                if not self._in_use.get(file):
                    disk.remove(self._here.pop(file))


def _own_folder(folder: Path) -> tuple[Path, int | None]:
    """Return the name for a folder in `folder` that no other process uses, and the lock beside it;
    None where there are no locks, and so nobody who removes what others have left."""
    for _ in range(_TRIES):
        place = folder / secrets.token_hex(8)
        try:
            handle = file_locks.take(_lock_of(place))
        except file_locks.NoLocksError:
            return place, None
        if handle is not None:
            return place, handle
        # `remove_leftovers` of another process has found the file before it was locked.
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def remove_leftovers(folder: Path) -> None:
    """Delete what processes that were killed have left of files in `folder`."""
    with contextlib.suppress(OSError):
        for name in {name.removesuffix(_LOCK) for name in disk.names_in(folder)}:
            _remove_if_left(folder / name)


def _remove_if_left(place: Path) -> None:
    lock = _lock_of(place)
    with contextlib.suppress(OSError):
        handle = file_locks.take(lock)
        if handle is not None:
            _remove(place)
            file_locks.give_up(lock, handle)


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        for name in disk.names_in(place):
            disk.remove(place / name)
        place.rmdir()


def _lock_of(place: Path) -> Path:
    return place.with_name(place.name + _LOCK)


def _is(remote: RemoteFile, path: Path) -> bool:
    """Return whether a file is the one that was announced: by its hash where the hub names one."""
    if path.stat().st_size != remote.size:
        return False
    return not remote.blob or file_is_blob(path, remote.blob, lambda count: None)


def _unwritable(folder: Path, exc: OSError) -> OutputError:
    return OutputError(
        f"{folder} cannot hold the files of the model one at a time ({reason_of(exc)}).",
        "Free some space there, or set SPECTRUM_TUI_CACHE to a folder on a larger disk.",
    )
