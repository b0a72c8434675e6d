"""Dequantisation in plain numpy: no quantisation library, no GPU, one tensor at a time.

Everything is computed in float32 and rounded once to the type that a trainer would have, as
transformers does. Work goes in pieces of rows, so that beside the stored bytes and the result
there are never more than some 60 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import nan, prod
from typing import Any

import numpy as np

from spectrum_tui.core.stored_types import Array

FLOAT32 = np.dtype(np.float32)

PIECE = 2**21
"""Elements in work at one time: 8 MB as float32."""

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The eight magnitudes of e2m1; the fourth bit is the sign."""

BNB_INT8 = np.float32(7.874015718698502e-3)
"""1/127 as bitsandbytes writes it, so that products round as they do there."""


def pieces(rows: int, columns: int, multiple: int = 1) -> Iterator[slice]:
    """Slices of about PIECE elements that cover `rows`, each a multiple of `multiple` long."""
    step = max(1, PIECE // max(1, columns * multiple)) * multiple
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


@cache
def fp4_pairs() -> Array:
    """Return the two values in each byte, the low four bits first."""
    values = [*FP4, *(-value for value in FP4)]
    pairs = [(values[byte & 15], values[byte >> 4]) for byte in range(256)]
    return np.array(pairs, np.float32)


@cache
def e8m0_values() -> Array:
    """Return the powers of two that a scale's byte stands for; 255 is NaN."""
    return np.array([*(2.0 ** (byte - 127) for byte in range(255)), nan], np.float32)


def unpack_fp4(packed: Array) -> Array:
    """Float32 values of bytes with two e2m1 values each, twice as wide."""
    return _joined(fp4_pairs()[packed.view(np.uint8)])


def scale_values(scale: Array) -> Array:
    """Scales as float32; bytes are exponents (ue8m0)."""
    if scale.itemsize == 1:
        return e8m0_values()[scale.view(np.uint8)]
    return scale.astype(np.float32)


def unpack_columns(packed: Array, bits: int) -> Array:
    """[rows, n] int32 with 32/bits values each, low bits first, as [rows, n·32/bits]."""
    shifts = np.arange(0, 32, bits, dtype=np.int32)
    return _joined((packed[..., np.newaxis] >> shifts) & np.int32(2**bits - 1))


def _joined(values: Array) -> Array:
    """[..., a, b] as [..., a·b]."""
    return values.reshape(*values.shape[:-2], -1)


def unpack_rows(packed: Array, bits: int) -> Array:
    """[n, columns] int32 with 32/bits values each, low bits first, as [n·32/bits, columns]."""
    return unpack_columns(packed.T, bits).T


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Scales (and zero points) of a matrix: `row[i]`, `column[j]` say which one element i, j has.

    Products are rounded to `via` first, where a library computes in the type of its scales.
    """

    scale: Array
    row: Array
    column: Array
    zero: Array | None = None
    via: np.dtype[Any] = FLOAT32

    def apply(self, values: Array, rows: slice) -> Array:
        """(values - zero) · scale for the float32 `values` of the given rows."""
        row = self.row[rows]
        if self.zero is not None:
            values = values - self.zero[row][:, self.column]
        return (values * self.scale[row][:, self.column]).astype(self.via)


def block_grid(
    scale: Array, shape: tuple[int, int], block: tuple[int, int], via: np.dtype[Any]
) -> Grid:
    """Return the grid of a matrix in blocks; the last block of a row or column may be cut short."""
    row, column = (np.arange(n) // size for n, size in zip(shape, block, strict=True))
    return Grid(scale=scale, row=row, column=column, via=via)


def blocks(
    weight: Array,
    scale: Array,
    block: tuple[int, int],
    dtype: np.dtype[Any],
    *,
    packed_fp4: bool = False,
    via: np.dtype[Any] = FLOAT32,
) -> Array:
    """FP8 or FP4 weights [..., rows, columns] by their scales [..., r, c], one for each block."""
    rows, columns = weight.shape[-2], weight.shape[-1] * (2 if packed_fp4 else 1)
    out = np.empty((*weight.shape[:-2], rows, columns), dtype)
    stored = weight.reshape(-1, *weight.shape[-2:])
    scales = np.broadcast_to(scale_values(scale), (*weight.shape[:-2], *scale.shape[-2:]))
    scales = scales.reshape(-1, *scale.shape[-2:])
    for matrix, grid_scale, result in zip(
        stored, scales, out.reshape(-1, rows, columns), strict=True
    ):
        grid = block_grid(grid_scale, (rows, columns), block, via)
        for part in pieces(rows, columns):
            piece = matrix[part]
            values = unpack_fp4(piece) if packed_fp4 else piece.astype(np.float32)
            result[part] = grid.apply(values, part)
    return out


def mxfp4(packed: Array, scales: Array, dtype: np.dtype[Any]) -> Array:
    """[experts, rows, groups, 16] bytes and a scale each as [experts, groups·32, rows]."""
    experts, rows, groups, width = packed.shape
    columns = groups * width * 2
    out = np.empty((experts, columns, rows), dtype)
    for stored, power, result in zip(packed, scales, out, strict=True):
        for part in pieces(rows, columns):
            factor = scale_values(power[part])[..., np.newaxis]
            result[:, part] = _joined(unpack_fp4(stored[part]) * factor).T
    return out


def integers(weight: Array, grid: Grid, dtype: np.dtype[Any]) -> Array:
    """8-bit integers by the scales of their grid."""
    out = np.empty(weight.shape, dtype)
    for part in pieces(*weight.shape):
        out[part] = grid.apply(weight[part].astype(np.float32), part)
    return out


def packed_integers(
    packed: Array, bits: int, columns: int, grid: Grid, dtype: np.dtype[Any]
) -> Array:
    """Rows of integers packed into int32; the last one may have bits to spare."""
    rows = packed.shape[0]
    out = np.empty((rows, columns), dtype)
    for part in pieces(rows, columns):
        out[part] = grid.apply(
            unpack_columns(packed[part], bits)[:, :columns].astype(np.float32), part
        )
    return out


def gptq(packed: Array, bits: int, grid: Grid, dtype: np.dtype[Any]) -> Array:
    """[inputs·bits/32, outputs] int32 as the [outputs, inputs] weight of a linear layer."""
    each = 32 // bits
    inputs, outputs = packed.shape[0] * each, packed.shape[1]
    out = np.empty((outputs, inputs), dtype)
    for part in pieces(inputs, outputs, each):
        values = unpack_rows(packed[part.start // each : -(-part.stop // each)], bits)
        out[:, part] = grid.apply(values.astype(np.float32), part).T
    return out


def bnb_int8(weight: Array, absmax: Array, dtype: np.dtype[Any]) -> Array:
    """Rows of 8-bit integers, each by its largest magnitude over 127."""
    out = np.empty(weight.shape, dtype)
    for part in pieces(*weight.shape):
        out[part] = (
            weight[part].astype(np.float32)
            * absmax[part].astype(np.float32)[:, np.newaxis]
            * BNB_INT8
        )
    return out


def bnb_absmax(index: Array, code: Array, scale: Array, block: int, offset: float) -> Array:
    """Magnitudes that are quantised themselves (double quantisation), as float32."""
    scales = np.repeat(scale.astype(np.float32), block)[: index.size]
    return code.astype(np.float32)[index].reshape(-1) * scales + np.float32(offset)


def bnb_4bit(
    packed: Array,
    code: Array,
    absmax: Array,
    block: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    """Two entries of the code book a byte, high bits first, by the magnitude of their block."""
    count = prod(shape)
    stored, code = packed.reshape(-1).view(np.uint8), code.astype(np.float32)
    pairs = np.stack((np.repeat(code, 16), np.tile(code, 16)), 1)
    out = np.empty(count, dtype)
    # A multiple of two blocks is a whole number of bytes, whatever the block.
    for part in pieces(count, 1, 2 * block):
        values = pairs[stored[part.start // 2 : -(-part.stop // 2)]].reshape(-1)
        first, last = part.start // block, -(-part.stop // block)
        length = part.stop - part.start
        out[part] = values[:length] * np.repeat(absmax[first:last], block)[:length]
    return out.reshape(shape)
