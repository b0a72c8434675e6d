"""Stored bytes as numpy arrays, by plain reads of byte ranges.

Not through a memory map: a long-lived map makes resident memory grow with the file
(+385 MB measured for a 384 MB file), and a truncated file would be a SIGBUS.
"""

from __future__ import annotations

import numpy as np

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces, source_of
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


def _read_into(tensor: Tensor, pieces: Pieces) -> None:
    """Fill each buffer from its offset in the tensor's file; raises as `ByteSource` says."""
    source_of(tensor).read_into(tensor, pieces)
