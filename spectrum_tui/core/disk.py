"""The file system, as everything that is kept or written goes through it.

Every access of ours to the output and to the cache is one of `os`, called from here, from
`file_locks` or `platforms`, so that a test can let any of them fail. All functions raise OSError;
`files` makes lines for the user of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from spectrum_tui.core.platforms import (
    drop_from_memory,
    open_flags,
    set_mode,
    user_id,
    wait_for_writer,
)

MOST_KEPT = 2**30
"""Bytes that are read of one file: beyond it, it is no cache file of ours and no score file."""

_PIECE = 2**20
_READ = open_flags("O_RDONLY", "O_BINARY", "O_CLOEXEC", "O_NONBLOCK")
_OPEN = open_flags("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")
"""How our own files are opened: no link is followed, and a pipe in a file's place is not waited
for."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file in a user's folder for reading; raises OSError, also for anything but a regular
    file.

    Opening a pipe that nobody writes to would wait without end, and a device has none.
    """
    return os.fdopen(_open_to_read(path, pipes=False), "rb")


def read_regular(path: Path, most: int = MOST_KEPT) -> bytes:
    """Return the content of a file in a user's folder; raises OSError, also above `most` bytes."""
    with open_regular(path) as file:
        return _read_whole(file.fileno(), path, most)


def read_bytes(path: Path, most: int = MOST_KEPT) -> bytes:
    """Return the content of a file that the user named; raises OSError, also above `most` bytes.

    A pipe that somebody writes to (`<(command)`, /dev/stdin) is read to its end; one that nobody
    writes to is empty rather than waited for.
    """
    handle = _open_to_read(path, pipes=True)
    try:
        return _read_whole(handle, path, most)
    finally:
        os.close(handle)


def read_text(path: Path) -> str:
    """Return the text of a file that the user named, in UTF-8 with or without a byte-order mark,
    its line ends as "\n"; raises OSError and UnicodeDecodeError."""
    text = read_bytes(path).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _open_to_read(path: Path, *, pipes: bool) -> int:
    handle = os.open(path, _READ)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode)):
        if stat.S_ISFIFO(mode):
            wait_for_writer(handle)
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def _read_whole(handle: int, path: Path, most: int) -> bytes:
    data = b"" if os.fstat(handle).st_size > most else _read_all(handle, most + 1)
    if len(data) > most or os.fstat(handle).st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def read_from_disk(path: Path, piece: int) -> Iterator[bytes]:
    """Yield a file piece by piece, as the disk has it: what the system still holds in memory of it
    is dropped first, where it lets itself be asked. Raises OSError."""
    handle = _open_to_read(path, pipes=False)
    try:
        drop_from_memory(handle)
        while data := os.read(handle, piece):
            yield data
    finally:
        os.close(handle)


def is_device(path: Path) -> bool:
    """Return whether there is something that is neither file nor folder, at the end of any
    links."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def followed(path: Path) -> Path:
    """Return the file that is meant by `path`: where its links lead, if those are the user's own or
    the system's and the file is the user's own. Anybody may have put another link there, so that
    the user overwrites with it what only the user can."""
    place = path
    for _ in range(40):
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(found.st_mode):
            return place if found.st_uid == user_id() else path
        if found.st_uid not in (0, user_id()):
            return path
        place = place.parent / os.readlink(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def is_closed(folder: Path) -> bool:
    """Return whether this user may not even look for a file in a folder."""
    return not os.access(folder, os.X_OK)


def mode_of(path: Path) -> int | None:
    """Return the permissions of a file that is replaced; None where there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_mode & 0o777 if stat.S_ISREG(found.st_mode) else None


def write_through(path: Path, pieces: Iterable[bytes]) -> None:
    """Write to a pipe or device."""
    handle = os.open(path, os.O_WRONLY | open_flags("O_BINARY", "O_CLOEXEC"))
    try:
        for piece in pieces:
            write_all(handle, piece)
    finally:
        os.close(handle)


def append(path: Path, data: bytes) -> None:
    """Add to a file; one that is a link is followed, or replaced, as in `followed`."""
    target = followed(path)
    if os.path.islink(target):
        os.unlink(target)
    handle = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _OPEN, 0o666)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)


def replace(path: Path, pieces: Iterable[bytes], mode: int | None) -> None:
    """Write a new file beside `path` and give it that name; `mode` None is what the umask says."""
    part = _beside(path)
    # Never wider than the old file, not even while it is written.
    handle = _create(part, 0o666 if mode is None else mode)
    try:
        try:
            if mode is not None and stat.S_IMODE(os.fstat(handle).st_mode) != mode:
                set_mode(handle, mode)
            for piece in pieces:
                write_all(handle, piece)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _create(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, mode)


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}.part"


def probe(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder."""
    part = _beside(folder / "probe")
    try:
        os.close(_create(part, 0o600))
        os.unlink(part)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(folder)) from None


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and all that it lies in, those that are missing with this mode."""
    if os.path.isdir(folder):
        return
    if folder.parent != folder:
        make_folder(folder.parent, mode)
    try:
        os.mkdir(folder, mode)
    except FileExistsError:  # another process was faster
        if not os.path.isdir(folder):
            raise


def move_folder(folder: Path, to: Path) -> None:
    """Give a folder another name, where nothing or an empty folder is."""
    if os.path.isdir(to):
        os.rmdir(to)
    move(folder, to)


def move(path: Path, to: Path) -> None:
    """Give a file or folder another name on the same disk."""
    os.rename(path, to)
    _sync_folder(to.parent)


def names_in(folder: Path) -> list[str]:
    """Return the names of all that lies in a folder."""
    return os.listdir(folder)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _read_all(handle: int, most: int = -1) -> bytes:
    """Return all that is left of a file, at most `most` bytes where that is given."""
    found = bytearray()
    while most < 0 or len(found) < most:
        piece = os.read(handle, _PIECE if most < 0 else min(_PIECE, most - len(found)))
        if not piece:
            break
        found += piece
    return bytes(found)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of the data: an almost full disk accepts part of it before OSError is raised."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


# -- files of the cache: the user's alone ---------------------------------------------------


def read_from(path: Path, start: int = 0) -> bytes:
    """Return a cache file from an offset on, at most `MOST_KEPT` bytes; raises OSError."""
    handle = open_kept(path, os.O_RDONLY)
    try:
        os.lseek(handle, start, os.SEEK_SET)
        return _read_all(handle, MOST_KEPT)
    finally:
        os.close(handle)


def open_kept(path: Path, flags: int) -> int:
    """Open a regular file of the cache, made for the user alone where it is new; raises OSError."""
    handle = os.open(path, flags | _OPEN, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
    except BaseException:
        os.close(handle)
        raise
    return handle


def open_folder(folder: Path) -> int:
    """Open a folder, so that it can be locked; raises OSError, as Windows always does."""
    return os.open(folder, open_flags("O_RDONLY", "O_CLOEXEC", "O_DIRECTORY"))


class KeptFile:
    """A regular file of the cache, open for reading at any place; raises OSError."""

    def __init__(self, path: Path) -> None:
        self._handle = open_kept(path, os.O_RDONLY)

    def read(self, start: int, size: int) -> bytes:
        """Return the bytes there, fewer at the end of the file. Raises OSError, or OverflowError
        for an impossible offset."""
        os.lseek(self._handle, start, os.SEEK_SET)
        return _read_all(self._handle, max(0, min(size, self.size() - start)))

    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._handle).st_size

    def close(self) -> None:
        """No more reading."""
        os.close(self._handle)


class GrowingFile:
    """A file of the cache that is only added to; raises OSError."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._handle = open_kept(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        if not self.last_byte():
            _sync_folder(path.parent)

    def append(self, data: bytes) -> int:
        """Add the data; returns where it begins, whoever else writes."""
        write_all(self._handle, data)
        return os.lseek(self._handle, 0, os.SEEK_CUR) - len(data)

    def sync(self) -> None:
        """Wait until it is on the disk."""
        os.fsync(self._handle)

    def last_byte(self) -> bytes:
        """Return what the file ends with; nothing where it is empty."""
        if not os.fstat(self._handle).st_size:
            return b""
        os.lseek(self._handle, -1, os.SEEK_END)
        return os.read(self._handle, 1)

    def close(self) -> None:
        """No more writing."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


class ScratchFile:
    """A file of the cache that no other process finds, and that is gone with this one however it
    ends; raises OSError."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        path, by_itself = _beside(folder / "scratch"), open_flags("O_TEMPORARY")
        self._handle = open_kept(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | by_itself)
        if by_itself:  # Windows deletes such a file at its end, and no open one before
            return
        try:
            os.unlink(path)
        except BaseException:
            os.close(self._handle)
            raise

    def write(self, start: int, data: memoryview) -> None:
        """Put all of the data there."""
        os.lseek(self._handle, start, os.SEEK_SET)
        write_all(self._handle, data)

    def read_into(self, start: int, target: memoryview) -> None:
        """Fill the buffer from there."""
        os.lseek(self._handle, start, os.SEEK_SET)
        target[:] = _read_all(self._handle, len(target))

    def close(self) -> None:
        """Give its room back."""
        os.close(self._handle)


def free_space(folder: Path) -> int | None:
    """Return the free bytes of a folder's disk; None where the system does not tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def rewrite(handle: int, data: bytes) -> None:
    """Replace the content of an open file, in place."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    write_all(handle, data)


def _sync_folder(folder: Path) -> None:
    """Have the names of new files on the disk; what does not know of it does it by itself."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, open_flags("O_RDONLY", "O_DIRECTORY", "O_CLOEXEC"))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
