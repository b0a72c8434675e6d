"""Dequantisation in plain torch: no quantisation library, no GPU, one tensor at a time.

Everything is computed in float32 and rounded once to the type that a trainer would have, as
transformers does. Work goes in pieces of rows, so that beside the stored bytes and the result
there are never more than some 60 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import nan, prod

import torch

PIECE = 2**21
"""Elements in work at one time: 8 MB as float32."""

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The eight magnitudes of e2m1; the fourth bit is the sign."""

BNB_INT8 = 7.874015718698502e-3
"""1/127 as bitsandbytes writes it, so that products round as they do there."""


def pieces(rows: int, columns: int, multiple: int = 1) -> Iterator[slice]:
    """Slices of about PIECE elements that cover `rows`, each a multiple of `multiple` long."""
    step = max(1, PIECE // max(1, columns * multiple)) * multiple
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


@cache
def fp4_pairs() -> torch.Tensor:
    """Return the two values in each byte, the low four bits first."""
    values = [*FP4, *(-value for value in FP4)]
    return torch.tensor([(values[byte & 15], values[byte >> 4]) for byte in range(256)])


@cache
def e8m0_values() -> torch.Tensor:
    """Return the powers of two that a scale's byte stands for; 255 is NaN."""
    return torch.tensor([*(2.0 ** (byte - 127) for byte in range(255)), nan])


def lookup(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index] for an index of bytes, with a table's rows as a last dimension."""
    found = table.index_select(0, index.reshape(-1).int())
    return found.reshape((*index.shape, *table.shape[1:]))


def unpack_fp4(packed: torch.Tensor) -> torch.Tensor:
    """Float32 values of bytes with two e2m1 values each, twice as wide."""
    return lookup(fp4_pairs(), packed.view(torch.uint8)).flatten(-2)


def scale_values(scale: torch.Tensor) -> torch.Tensor:
    """Scales as float32; bytes are exponents (ue8m0)."""
    if scale.element_size() == 1:
        return lookup(e8m0_values(), scale.view(torch.uint8))
    return scale.float()


def unpack_columns(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """[rows, n] int32 with 32/bits values each, low bits first, as [rows, n·32/bits]."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    values: torch.Tensor = (packed.unsqueeze(-1) >> shifts) & (2**bits - 1)
    return values.flatten(-2)


def unpack_rows(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """[n, columns] int32 with 32/bits values each, low bits first, as [n·32/bits, columns]."""
    return unpack_columns(packed.T, bits).T


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Scales (and zero points) of a matrix: `row[i]`, `column[j]` say which one element i, j has.

    Products are rounded to `via` first, where a library computes in the type of its scales.
    """

    scale: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    zero: torch.Tensor | None = None
    via: torch.dtype = torch.float32

    def apply(self, values: torch.Tensor, rows: slice) -> torch.Tensor:
        """(values - zero) · scale for the float32 `values` of the given rows."""
        row = self.row[rows]
        if self.zero is not None:
            values = values - self.zero[row].index_select(1, self.column)
        return (values * self.scale[row].index_select(1, self.column)).to(self.via)


def block_grid(
    scale: torch.Tensor, shape: tuple[int, int], block: tuple[int, int], via: torch.dtype
) -> Grid:
    """Return the grid of a matrix in blocks; the last block of a row or column may be cut short."""
    row, column = (torch.arange(n) // size for n, size in zip(shape, block, strict=True))
    return Grid(scale=scale, row=row, column=column, via=via)


def blocks(
    weight: torch.Tensor,
    scale: torch.Tensor,
    block: tuple[int, int],
    dtype: torch.dtype,
    *,
    packed_fp4: bool = False,
    via: torch.dtype = torch.float32,
) -> torch.Tensor:
    """FP8 or FP4 weights [..., rows, columns] by their scales [..., r, c], one for each block."""
    rows, columns = weight.shape[-2], weight.shape[-1] * (2 if packed_fp4 else 1)
    out = torch.empty(*weight.shape[:-2], rows, columns, dtype=dtype)
    stored = weight.reshape(-1, *weight.shape[-2:])
    scales = scale_values(scale).expand(*weight.shape[:-2], *scale.shape[-2:])
    scales = scales.reshape(-1, *scale.shape[-2:])
    for matrix, grid_scale, result in zip(stored, scales, out.view(-1, rows, columns), strict=True):
        grid = block_grid(grid_scale, (rows, columns), block, via)
        for part in pieces(rows, columns):
            piece = matrix[part]
            values = unpack_fp4(piece) if packed_fp4 else piece.float()
            result[part] = grid.apply(values, part)
    return out


def mxfp4(packed: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[experts, rows, groups, 16] bytes and a scale each as [experts, groups·32, rows]."""
    experts, rows, groups, width = packed.shape
    columns = groups * width * 2
    out = torch.empty(experts, columns, rows, dtype=dtype)
    for stored, power, result in zip(packed, scales, out, strict=True):
        for part in pieces(rows, columns):
            factor = scale_values(power[part]).unsqueeze(-1)
            result[:, part] = (unpack_fp4(stored[part]) * factor).flatten(1).T
    return out


def integers(weight: torch.Tensor, grid: Grid, dtype: torch.dtype) -> torch.Tensor:
    """8-bit integers by the scales of their grid."""
    out = torch.empty(weight.shape, dtype=dtype)
    for part in pieces(*weight.shape):
        out[part] = grid.apply(weight[part].float(), part)
    return out


def packed_integers(
    packed: torch.Tensor, bits: int, columns: int, grid: Grid, dtype: torch.dtype
) -> torch.Tensor:
    """Rows of integers packed into int32; the last one may have bits to spare."""
    rows = packed.shape[0]
    out = torch.empty(rows, columns, dtype=dtype)
    for part in pieces(rows, columns):
        out[part] = grid.apply(unpack_columns(packed[part], bits)[:, :columns].float(), part)
    return out


def gptq(packed: torch.Tensor, bits: int, grid: Grid, dtype: torch.dtype) -> torch.Tensor:
    """[inputs·bits/32, outputs] int32 as the [outputs, inputs] weight of a linear layer."""
    each = 32 // bits
    inputs, outputs = packed.shape[0] * each, packed.shape[1]
    out = torch.empty(outputs, inputs, dtype=dtype)
    for part in pieces(inputs, outputs, each):
        values = unpack_rows(packed[part.start // each : -(-part.stop // each)], bits)
        out[:, part] = grid.apply(values.float(), part).T
    return out


def bnb_int8(weight: torch.Tensor, absmax: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Rows of 8-bit integers, each by its largest magnitude over 127."""
    out = torch.empty(weight.shape, dtype=dtype)
    for part in pieces(*weight.shape):
        out[part] = weight[part].float() * absmax[part].float().unsqueeze(1) * BNB_INT8
    return out


def bnb_absmax(
    index: torch.Tensor, code: torch.Tensor, scale: torch.Tensor, block: int, offset: float
) -> torch.Tensor:
    """Magnitudes that are quantised themselves (double quantisation), as float32."""
    scales = scale.float().repeat_interleave(block)[: index.numel()]
    return lookup(code.float(), index).view(-1) * scales + offset


def bnb_4bit(
    packed: torch.Tensor,
    code: torch.Tensor,
    absmax: torch.Tensor,
    block: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Two entries of the code book a byte, high bits first, by the magnitude of their block."""
    count = prod(shape)
    stored, code = packed.reshape(-1).view(torch.uint8), code.float()
    pairs = torch.stack((code.repeat_interleave(16), code.repeat(16)), 1)
    out = torch.empty(count, dtype=dtype)
    # A multiple of two blocks is a whole number of bytes, whatever the block.
    for part in pieces(count, 1, 2 * block):
        values = lookup(pairs, stored[part.start // 2 : -(-part.stop // 2)]).view(-1)
        first, last = part.start // block, -(-part.stop // block)
        length = part.stop - part.start
        out[part] = values[:length] * absmax[first:last].repeat_interleave(block)[:length]
    return out.view(shape)
