"""One decoder for each stored form: from a weight's parts to the values that a trainer has.

A decoder holds what the config and the headers say; the stored tensors are given to it in the
order of its source's parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.quantised import kernels
from spectrum_tui.core.quantised.kernels import FLOAT32, Grid
from spectrum_tui.core.stored_types import Array, numpy_dtype

StoredParts = Sequence[Array]


@dataclass(frozen=True, slots=True)
class Cast:
    """FP8 without scales, in the type that the model is loaded in."""

    dtype: str

    def __call__(self, parts: StoredParts) -> Array:
        """(weight)"""
        return parts[0].astype(numpy_dtype(self.dtype))


@dataclass(frozen=True, slots=True)
class Blocks:
    """FP8 weights, or two FP4 a byte, with one scale for each block of a matrix.

    `block` is (rows, columns) of a full one. transformers takes it from the number of scales,
    which fails or is wrong where the last block is cut short (576 rows in blocks of 128).
    The product is taken in float32 and rounded to `dtype`; where `by_scale_type`, as
    compressed-tensors does it, to the type of the scales before.
    """

    block: tuple[int, int]
    dtype: str
    packed_fp4: bool = False
    by_scale_type: bool = False

    def __call__(self, parts: StoredParts) -> Array:
        """(weight, scale)"""
        weight, scale = parts
        return kernels.blocks(
            weight,
            grid_shaped(scale, weight.ndim),
            self.block,
            numpy_dtype(self.dtype),
            packed_fp4=self.packed_fp4,
            via=_via(scale, self.by_scale_type),
        )


@dataclass(frozen=True, slots=True)
class Mxfp4:
    """FP4 in groups of 32 that share an exponent, transposed to [experts, inputs, outputs]."""

    dtype: str

    def __call__(self, parts: StoredParts) -> Array:
        """(blocks, scales)"""
        return kernels.mxfp4(parts[0], parts[1], numpy_dtype(self.dtype))


@dataclass(frozen=True, slots=True)
class Integers:
    """8-bit integers with one scale, and perhaps zero point, for each block of a matrix."""

    block: tuple[int, int]
    dtype: str

    def __call__(self, parts: StoredParts) -> Array:
        """(weight, scale[, zero point])"""
        weight, scale, *zero = parts
        grid = kernels.block_grid(
            grid_shaped(scale, 2).astype(np.float32), _matrix(weight), self.block, _via(scale, True)
        )
        if zero:
            grid = _with_zero(grid, grid_shaped(zero[0], 2).astype(np.float32))
        return kernels.integers(weight, grid, numpy_dtype(self.dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedIntegers:
    """Integers of `bits` bits packed into int32, in groups of the columns of each row.

    Stored raised by 2**(bits-1), and so are zero points, which may be packed along the rows.
    `grouped_by_index`: the last part says which group each column belongs to; -1 says that they
    are in order after all.
    """

    bits: int
    columns: int
    block: tuple[int, int]
    dtype: str
    has_zero: bool = False
    grouped_by_index: bool = False

    def __call__(self, parts: StoredParts) -> Array:
        """(packed, scale[, zero point][, group of each column])"""
        packed, scale = parts[0], grid_shaped(parts[1], 2)
        shape = (packed.shape[0], self.columns)
        via = _via(scale, True)
        grid = kernels.block_grid(scale.astype(np.float32), shape, self.block, via)
        if self.grouped_by_index and bool((parts[-1] >= 0).all()):
            column = _group_index(parts[-1], scale.shape[1])
            grid = kernels.Grid(scale=grid.scale, row=grid.row, column=column, via=via)
        zero = self._zero(parts[2] if self.has_zero else None, grid)
        return kernels.packed_integers(
            packed, self.bits, self.columns, _with_zero(grid, zero), numpy_dtype(self.dtype)
        )

    def _zero(self, stored: Array | None, grid: Grid) -> Array:
        raised = 2.0 ** (self.bits - 1)
        if stored is None:
            return np.full_like(grid.scale, raised)
        if stored.dtype != np.int32:
            return grid_shaped(stored, 2).astype(np.float32) + raised
        return kernels.unpack_rows(stored, self.bits)[: grid.scale.shape[0]].astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gptq:
    """Integers packed along the inputs, in groups of them; transposed to a linear layer's weight.

    The first version of the format stores zero points less one. `grouped_by_index`: the last
    part says which group each input belongs to (act-order).
    """

    bits: int
    group: int
    dtype: str
    zero_less_one: bool
    grouped_by_index: bool

    def __call__(self, parts: StoredParts) -> Array:
        """(qweight, qzeros, scales[, g_idx])"""
        packed, zeros, scale = parts[:3]
        inputs, outputs = packed.shape[0] * 32 // self.bits, packed.shape[1]
        zero = kernels.unpack_columns(zeros, self.bits)[:, :outputs]
        if self.zero_less_one:
            zero = (zero + 1) & (2**self.bits - 1)
        grid = kernels.block_grid(
            scale.astype(np.float32), (inputs, outputs), (self.group, 1), _via(scale, True)
        )
        row = _group_index(parts[3], scale.shape[0]) if self.grouped_by_index else grid.row
        grid = kernels.Grid(
            scale=grid.scale,
            row=row,
            column=np.arange(outputs),
            zero=zero.astype(np.float32),
            via=grid.via,
        )
        return kernels.gptq(packed, self.bits, grid, numpy_dtype(self.dtype))


@dataclass(frozen=True, slots=True)
class BnbInt8:
    """bitsandbytes LLM.int8(): rows of 8-bit integers with their largest magnitude."""

    dtype: str

    def __call__(self, parts: StoredParts) -> Array:
        """(weight, SCB)"""
        return kernels.bnb_int8(parts[0], parts[1], numpy_dtype(self.dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bnb4Bit:
    """bitsandbytes NF4 and FP4: entries of a code book, in blocks of the flattened weight.

    With `nested_block`, the magnitudes of the blocks are quantised too, around `nested_offset`.
    """

    shape: tuple[int, ...]
    block: int
    dtype: str
    nested_block: int = 0
    nested_offset: float = 0.0

    def __call__(self, parts: StoredParts) -> Array:
        """(weight, absmax, quant_map[, nested_absmax, nested_quant_map])"""
        packed, absmax, code = parts[:3]
        if self.nested_block:
            absmax = kernels.bnb_absmax(
                absmax, parts[4], parts[3], self.nested_block, self.nested_offset
            )
        return kernels.bnb_4bit(
            packed, code, absmax.astype(np.float32), self.block, self.shape, numpy_dtype(self.dtype)
        )


def grid_shaped(scale: Array, ndim: int) -> Array:
    """One scale, one for each row or one for each expert, as a grid of a matrix's blocks."""
    if scale.size == 1:
        return scale.reshape(1, 1)
    if scale.ndim == 1:
        return scale.reshape(-1, *(1,) * (ndim - 1))
    return scale


def _matrix(weight: Array) -> tuple[int, int]:
    rows, columns = weight.shape
    return rows, columns


def _group_index(stored: Array, groups: int) -> Array:
    """Group numbers as an index; a damaged one must not wrap around or end in a traceback."""
    if stored.size and not 0 <= int(stored.min()) <= int(stored.max()) < groups:
        raise CheckpointError(
            f"A group index points outside of its {counted(groups, 'group')}.",
            "Download the model again.",
            field="model",
        )
    return stored.astype(np.int64)


def _via(scale: Array, by_scale_type: bool) -> np.dtype[Any]:
    """Return the type that products are rounded to first."""
    return scale.dtype if by_scale_type and scale.itemsize == 2 else FLOAT32


def _with_zero(grid: Grid, zero: Array) -> Grid:
    return kernels.Grid(scale=grid.scale, row=grid.row, column=grid.column, zero=zero, via=grid.via)
