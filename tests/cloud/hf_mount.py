"""A folder mounted as hf-mount 0.9 would: what it fetches ahead, and what it says of files.

Inodes are numbered as they are met and times of change are those of the mount; the first read of an
opened file, and each one up to 16 MiB further on, starts to read it all, 8 to 128 MiB at a time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from fuse import FUSE, FuseOSError, Operations

MIB = 2**20
FIRST, MOST, SKIP, KEPT = 8 * MIB, 128 * MIB, 16 * MIB, MIB


class Handle:
    """An opened file: what was fetched of it last, and how far ahead the next fetch goes."""

    def __init__(self, size: int) -> None:
        self.size, self.window = size, FIRST
        self.start = self.end = self.kept = 0
        self.fresh = True

    def fetched(self, begin: int, end: int) -> int:
        """Return the bytes that are fetched for a read of [begin, end)."""
        count = 0
        while begin < end:
            if self.start <= begin < self.end or self.kept <= begin < self.start:
                begin = self.end if begin >= self.start else self.start
                continue
            goes_on = self.fresh or self.end <= begin <= self.end + SKIP
            if not self.fresh:
                self.window = min(2 * self.window, MOST) if goes_on else FIRST
            length = min(self.size - begin, max(end - begin, self.window if goes_on else 0))
            self.kept = max(self.start, self.end - KEPT) if begin == self.end else begin
            self.start, self.end, self.fresh = begin, begin + length, False
            count += length
        return count


class Mounted(Operations):  # type: ignore[misc]
    """Serves a folder; `control` holds the number of an error that every read gives, if any, and
    beside it what was read and fetched is written down."""

    use_ns = True

    def __init__(self, folder: str, control: Path, seconds: float) -> None:
        self.folder, self.control, self.seconds = folder, control, seconds
        self.inodes: dict[str, int] = {}
        self.handles: dict[int, Handle] = {}
        self.counts = {"reads": 0, "fetches": 0, "fetched": 0}
        self._guard = threading.Lock()
        self.since = time.time_ns()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Return what is said of a file."""
        try:
            found = Path(self.folder + path).stat()
        except OSError as exc:
            raise FuseOSError(exc.errno) from None
        with self._guard:
            inode = self.inodes.setdefault(path, len(self.inodes) + 1)
        return {
            "st_ino": inode,
            "st_mode": found.st_mode & ~0o222,
            "st_nlink": found.st_nlink,
            "st_size": found.st_size,
            "st_mtime": found.st_mtime_ns // 10**9 * 10**9,
            "st_ctime": self.since,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        """Return the names in a folder."""
        return [".", "..", *(file.name for file in Path(self.folder + path).iterdir())]

    def open(self, path: str, flags: int) -> int:
        """Return the number of an opened file."""
        handle = os.open(self.folder + path, os.O_RDONLY)
        self.handles[handle] = Handle(os.fstat(handle).st_size)
        return handle

    def release(self, path: str, fh: int) -> None:
        """Close a file."""
        del self.handles[fh]
        os.close(fh)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Return bytes of a file, once they are fetched."""
        number = self.control.read_text().strip()
        if number:
            raise FuseOSError(int(number))
        with self._guard:
            handle = self.handles[fh]
            count = handle.fetched(offset, min(offset + size, handle.size))
            self.counts["reads"] += 1
            self.counts["fetches"] += count > 0
            self.counts["fetched"] += count
            self.control.with_suffix(".json").write_text(json.dumps(self.counts))
        if count:
            time.sleep(self.seconds)
        return os.pread(fh, size, offset)


if __name__ == "__main__":
    source, place, control, seconds = sys.argv[1:]
    FUSE(
        Mounted(source, Path(control), float(seconds)),
        place,
        foreground=True,
        ro=True,
        fsname="hf-mount",
        use_ino=True,
        kernel_cache=True,
    )
