"""Stored bytes as numpy arrays, by plain reads of byte ranges.

Not through a memory map: a long-lived map makes resident memory grow with the file
(+385 MB measured for a 384 MB file), and a truncated file would be a SIGBUS.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from spectrum_tui.core.checkpoint.file_state import FileState, changed, check_unchanged
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.shards import unreadable
from spectrum_tui.core.disk import open_regular
from spectrum_tui.core.errors import CheckpointError, NotHereError
from spectrum_tui.core.stored_types import Array, numpy_dtype


def read_elements(tensor: Tensor, first: int, count: int) -> Array:
    """`count` elements from the element `first` on, in row-major order, as a flat array."""
    dtype = numpy_dtype(tensor.dtype)
    buffer = np.empty(count * dtype.itemsize, np.uint8)
    if count:
        _read_into(tensor, [(buffer.data, tensor.start + first * dtype.itemsize)])
    return buffer.view(dtype)


def read_block(tensor: Tensor, first: int, rows: int, stride: int, count: int) -> Array:
    """`count` elements of each of `rows` rows that begin `stride` elements apart, from the element
    `first` on: a rows x count array."""
    dtype = numpy_dtype(tensor.dtype)
    buffer = np.empty((rows, count * dtype.itemsize), np.uint8)
    start, step = tensor.start + first * dtype.itemsize, stride * dtype.itemsize
    _read_into(tensor, ((buffer[row].data, start + row * step) for row in range(rows)))
    return buffer.view(dtype)


def read_rows(tensor: Tensor, start: int, stop: int) -> Array:
    """Return the slices [start, stop) of the first dimension."""
    inner = tensor.shape[1:]
    width = tensor.numel // tensor.shape[0] if tensor.shape[0] else 0
    values = read_elements(tensor, start * width, (stop - start) * width)
    return values.reshape(stop - start, *inner)


def read_tensor(tensor: Tensor) -> Array:
    """Return the whole tensor."""
    return read_elements(tensor, 0, tensor.numel).reshape(tensor.shape)


def read_stored(tensor: Tensor, first: int, count: int) -> bytes:
    """`count` stored bytes from byte `first` of the tensor on."""
    data = bytearray(count)
    _read_into(tensor, [(memoryview(data), tensor.start + first)])
    return bytes(data)


def _read_into(tensor: Tensor, pieces: Iterable[tuple[memoryview, int]]) -> None:
    """Fill each buffer from its offset in the tensor's file, if that is still the file that was
    inspected.

    It is looked at after the read: whatever was written before is seen by then. Raises
    ModelChangedError, and CheckpointError where the system cannot read a range of it.
    """
    path = Path(tensor.file)
    try:
        with open_regular(path) as file:
            # Unbuffered: a piece may be a few bytes of a row, and the next one a row further.
            raw = io.FileIO(file.fileno(), closefd=False)
            complete = all(_filled(raw, buffer, offset) for buffer, offset in pieces)
            state = FileState.of(os.fstat(file.fileno()))
    except OSError as exc:
        if tensor.state is None and not path.exists():
            raise NotHereError(
                f"{tensor.name} is not on this machine.", "Download the model first.", field="model"
            ) from None
        check_unchanged({tensor.file: tensor.state})
        raise unreadable(path, exc) from None
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
        count = file.readinto(buffer[filled:])
        if not count:
            return False
        filled += count
    return True
