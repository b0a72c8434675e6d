"""The beginning of a file whose download ended before it was whole: kept, and gone on from.

The hub's client begins each file anew, and deletes what it has of one when it ends. Of what a
killed client left nobody knows whether it has gaps, as what comes by Xet may. So a file that comes
in order gets a second name meanwhile, which stays. The rest is asked for in ranges, and the whole
is checked by its hash.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from functools import partial

from spectrum_tui.core.errors import ModelChangedError
from spectrum_tui.core.hub.cache import BEGUN, HubFiles, blob_lock, repo_folder
from spectrum_tui.core.hub.contents import file_is_blob
from spectrum_tui.core.hub.location import RemoteFile, remote_files
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.reader import NoRangesError

_PIECE = 4 * 2**20
"""Bytes that are asked for at once."""
_SHA256 = 64
"""Letters of the hash of a large file; small ones are not worth it."""


class _Counted(RangeReader):
    """Ranges whose bytes are told of as they come: a piece takes minutes on a slow line."""

    def __init__(self, files: Mapping[str, RemoteFile], seen: Callable[[int], None]) -> None:
        super().__init__(files, check=partial(seen, 0))
        self._seen = seen

    def came(self, count: int) -> None:
        """Count bytes from the network."""
        super().came(count)
        self._seen(count)


class BegunFile:
    """What there is of one file before it is whole."""

    def __init__(self, files: HubFiles, name: str) -> None:
        self._files, self._name = files, name
        self._blob = files.blobs.get(name, "")
        self._folder = repo_folder(files.repo_id) / "blobs"
        self._place = self._folder / f"{self._blob}{BEGUN}"

    @property
    def nbytes(self) -> int:
        """Bytes of it, 0 where there are none to go on from."""
        with contextlib.suppress(OSError):
            return self._place.stat().st_size if len(self._blob) == _SHA256 else 0
        return 0

    def keep(self, since: float) -> None:
        """Give the file that the client has begun since then its second name, where the disk knows
        such names."""
        if len(self._blob) != _SHA256:
            return
        with contextlib.suppress(OSError):
            parts = [one for one in self._folder.glob(f"{self._blob}.*") if one != self._place]
            newest = max(parts, key=lambda one: one.stat().st_mtime, default=None)
            if newest is not None and newest.stat().st_mtime >= since:
                self._place.unlink(missing_ok=True)
                os.link(newest, self._place)

    def forget(self) -> None:
        """Give the second name up."""
        with contextlib.suppress(OSError):
            self._place.unlink(missing_ok=True)

    def go_on(self, told: Callable[[int], None], seen: Callable[[int], None]) -> bool:
        """Fetch the rest into the cache; False where there is nothing to go on from, or what came
        of it is not the file. `told` gets the bytes that are there, `seen` how many more have come
        or are checked; both may end it by raising."""
        from filelock import FileLock, Timeout

        if not 0 < self.nbytes <= self._files.sizes[self._name]:
            return False
        try:
            with FileLock(blob_lock(self._files.repo_id, self._blob), timeout=0):
                self._forget_first_name()
                return self._whole(told, seen)
        except (Timeout, NotImplementedError):  # another download is at it
            return False

    def _forget_first_name(self) -> None:
        """Delete the name that a client which was killed has left of it."""
        with contextlib.suppress(OSError):
            for one in self._folder.glob(f"{self._blob}.*"):
                if one != self._place and one.samefile(self._place):
                    one.unlink()

    def _whole(self, told: Callable[[int], None], seen: Callable[[int], None]) -> bool:
        try:
            self._fetch_rest(told, seen)
        except (NoRangesError, ModelChangedError):
            self.forget()
            return False
        if not file_is_blob(self._place, self._blob, seen):
            self.forget()
            return False
        self._place.replace(self._folder / self._blob)
        return True

    def _fetch_rest(self, told: Callable[[int], None], seen: Callable[[int], None]) -> None:
        ((file, remote),) = remote_files(self._files, [self._name]).items()
        reader = _Counted({file: remote}, seen)
        try:
            with self._place.open("ab") as out:
                told(at := out.tell())
                while at < remote.size:
                    piece = memoryview(bytearray(min(_PIECE, remote.size - at)))
                    reader.fetch(file, at, piece)
                    out.write(piece)
                    told(at := at + len(piece))
        finally:
            reader.close()


def begun_bytes(files: HubFiles) -> dict[str, int]:
    """Return the bytes that there are of files before they are whole."""
    return {name: BegunFile(files, name).nbytes for name in files.sizes.keys() - files.cached()}
