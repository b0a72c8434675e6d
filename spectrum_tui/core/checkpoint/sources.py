"""Where stored bytes come from: files on this machine, or whatever serves those that are not.

Everything that reads values of a checkpoint asks `source_of` for them by the name of the file that
a tensor is in. Whoever can read files that lie elsewhere says so with `served`.
"""

from __future__ import annotations

import errno
import io
import os
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from spectrum_tui.core.checkpoint.file_state import FileState, changed, check_unchanged
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.shards import unreadable
from spectrum_tui.core.checkpoint.unbuffered import answered, unbuffered
from spectrum_tui.core.disk import open_regular
from spectrum_tui.core.errors import CheckpointError, NotHereError, OutOfReachError
from spectrum_tui.core.platforms import drop_from_memory, no_reading_ahead

_PROBES = 8

Pieces = Iterable[tuple[memoryview, int]]
"""Buffers, each with the offset in the file from which it is to be filled."""


class ByteSource(Protocol):
    """Where the bytes of some files are read from; called by several threads at once."""

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill each buffer from its offset in the tensor's file, if that is still the file that
        was inspected.

        Raises ModelChangedError where it is not, CheckpointError where it cannot be read, and of
        its kind OutOfReachError where it may be, later.
        """
        ...


class LocalFiles:
    """Files on this machine, read by plain reads."""

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill the buffers; the file is looked at after the read, as whatever was written before
        is seen by then."""
        path = Path(tensor.file)
        try:
            with open_regular(path) as file:
                raw = unbuffered(file)
                complete = all(_filled(raw, buffer, offset) for buffer, offset in pieces)
                state = FileState.of(os.fstat(file.fileno()))
        except OSError as exc:
            if tensor.state is None and not path.exists():
                raise NotHereError(
                    f"{tensor.name} is not on this machine.",
                    "Download the model first.",
                    field="model",
                ) from None
            check_unchanged({tensor.file: tensor.state})
            device = tensor.state.device if tensor.state else -1
            error = unreadable(path, exc, device)
            if isinstance(error, OutOfReachError) and exc.errno == errno.EIO:
                error.part = (tensor.file, tensor.start, tensor.end)
            raise error from None
        if tensor.state not in (None, state):
            raise changed(tensor.file)
        if not complete:
            raise CheckpointError(
                f"{path.name} ends in the middle of {tensor.name}.",
                "Download it again; the transfer was cut short.",
                field="model",
            )


def _filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
    """Read until the buffer is full; False where the file ends before."""
    file.seek(offset)
    filled = 0
    while filled < len(buffer):
        count = answered(file.readinto(buffer[filled:]))
        if not count:
            return False
        filled += count
    return True


def rest_answers(file: str, begin: int, end: int) -> bool:
    """Return whether a file can be read but for its bytes [begin, end), so that it is not its mount
    that is away: most of some other places, none of which the system has in memory."""
    try:
        with open_regular(Path(file)) as opened:
            number = opened.fileno()
            drop_from_memory(number)
            no_reading_ahead(number)
            rest = os.fstat(number).st_size - (end - begin)
            places = [random.randrange(rest) for _ in range(_PROBES)]
            raw = unbuffered(opened)
            found = [_answers(raw, at if at < begin else at + end - begin) for at in places]
    except (OSError, ValueError):  # ValueError: there is no rest
        return False
    return 4 * sum(found) >= 3 * _PROBES


def _answers(file: io.FileIO, place: int) -> bool:
    try:
        return _filled(file, memoryview(bytearray(1)), place)
    except OSError:
        return False


_LOCAL = LocalFiles()
_served: dict[str, tuple[ByteSource, ...]] = {}
"""{file: the sources that serve it, the one that was named last at the end}."""
_changing = threading.Lock()


@contextmanager
def served(files: Iterable[str], source: ByteSource) -> Iterator[None]:
    """While it lasts, read the values in these files (as `Tensor.file` names them) from `source`.

    One inside another takes its place for as long; in all threads of the process.
    """
    names = tuple(files)
    with _changing:
        for name in names:
            _served[name] = (*_served.get(name, ()), source)
    try:
        yield
    finally:
        with _changing:
            for name in names:
                left = tuple(other for other in _served[name] if other is not source)
                if left:
                    _served[name] = left  # at once: others look it up without the lock
                else:
                    del _served[name]


def source_of(tensor: Tensor) -> ByteSource:
    """Return where the bytes of a tensor are read from."""
    sources = _served.get(tensor.file)
    return sources[-1] if sources else _LOCAL


def is_here(tensor: Tensor) -> bool:
    """Return whether the values of a tensor can be read: from this machine, where its header was
    read there, or from a source."""
    return tensor.state is not None or tensor.file in _served or Path(tensor.file).is_file()
