"""Stored bytes as torch tensors, by plain reads of byte ranges.

Not through a memory map: a long-lived map makes resident memory grow with the file
(+385 MB measured for a 384 MB file), and a truncated file would be a SIGBUS.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces, source_of
from spectrum_tui.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16",
    "I32": "int32", "U32": "uint32", "I64": "int64", "U64": "uint64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


@cache
def torch_dtype(name: str) -> torch.dtype:
    """Return the torch type of a stored type; raises CheckpointError where this torch has none."""
    import torch

    found = getattr(torch, _TORCH_NAMES.get(name, ""), None)
    if not isinstance(found, torch.dtype):
        raise CheckpointError(
            f"Tensors stored as {name} cannot be read.",
            "Scan the full-precision model that it was made from.",
            field="model",
        )
    return found


def read_elements(tensor: Tensor, first: int, count: int) -> torch.Tensor:
    """`count` elements from the element `first` on, in row-major order, as a flat tensor."""
    import torch

    dtype = torch_dtype(tensor.dtype)
    buffer = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
    if count:
        _read_into(tensor, [(buffer.numpy().data, tensor.start + first * dtype.itemsize)])
    return buffer.view(dtype)


def read_block(tensor: Tensor, first: int, rows: int, stride: int, count: int) -> torch.Tensor:
    """`count` elements of each of `rows` rows that begin `stride` elements apart, from the element
    `first` on: a rows x count tensor."""
    import torch

    dtype = torch_dtype(tensor.dtype)
    buffer = torch.empty(rows, count * dtype.itemsize, dtype=torch.uint8)
    lines, start = buffer.numpy(), tensor.start + first * dtype.itemsize
    step = stride * dtype.itemsize
    _read_into(tensor, ((lines[row].data, start + row * step) for row in range(rows)))
    return buffer.view(dtype)


def read_rows(tensor: Tensor, start: int, stop: int) -> torch.Tensor:
    """Return the slices [start, stop) of the first dimension."""
    inner = tensor.shape[1:]
    width = tensor.numel // tensor.shape[0] if tensor.shape[0] else 0
    return read_elements(tensor, start * width, (stop - start) * width).view(stop - start, *inner)


def read_tensor(tensor: Tensor) -> torch.Tensor:
    """Return the whole tensor."""
    return read_elements(tensor, 0, tensor.numel).view(tensor.shape)


def read_stored(tensor: Tensor, first: int, count: int) -> bytes:
    """`count` stored bytes from byte `first` of the tensor on."""
    data = bytearray(count)
    _read_into(tensor, [(memoryview(data), tensor.start + first)])
    return bytes(data)


def _read_into(tensor: Tensor, pieces: Pieces) -> None:
    """Fill each buffer from its offset in the tensor's file; raises as `ByteSource` says."""
    source_of(tensor).read_into(tensor, pieces)
