"""Gram matrices, their eigenvalues and QR on a CPU: numpy, and OpenBLAS where it is faster."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring import openblas
from spectrum_tui.core.stored_types import Array

PARTS = 16
"""Parts that the longest matrices are worked on in, by as many threads. Not more, since each has a
Gram matrix of its own."""


class CpuGram:
    """The sum of block^T·block over the blocks of a matrix: its upper triangle at least."""

    def __init__(self, short: int, dtype: str) -> None:
        self._sums = np.zeros((short, short), dtype)

    def add(self, block: Array) -> None:
        """Add the products of a block of `short` columns, stored in whatever type."""
        with np.errstate(all="ignore"):  # float64 beyond float32 is infinite, and found to be so
            values = block.astype(self._sums.dtype, copy=False)
            if openblas.library() is not None:
                openblas.add_products(self._sums, values)
            else:
                self._sums += values.T @ values

    def add_sum(self, other: CpuGram) -> None:
        """Add what was summed over other blocks of the same matrix."""
        with np.errstate(all="ignore"):
            self._sums += other._sums

    def is_finite(self) -> bool:
        """Return whether the sums of squares are: NaN and infinity stay what they are."""
        return bool(np.isfinite(self._sums.diagonal()).all())

    def eigenvalues(self) -> FloatArray | None:
        """Return them in ascending order, float64; None where LAPACK does not find them. The sums
        are lost."""
        if openblas.library() is not None:
            return openblas.eigenvalues(self._sums)
        try:  # what numpy calls lower is the upper triangle of the transpose, and no copy by rows
            return np.linalg.eigvalsh(self._sums.T, UPLO="L").astype(np.float64)
        except np.linalg.LinAlgError:
            return None


class Cpu:
    """The CPU of this machine, without torch."""

    parts = PARTS
    chunks = 1

    def takes_float32(self, short: int) -> bool:
        """Return whether float32 has the errors here that `svd.eigenvalue_errors` bounds."""
        return True

    def gram(self, short: int, dtype: str) -> CpuGram:
        """Return an empty sum of products of `short` columns, float64 or float32."""
        return CpuGram(short, dtype)

    def float32_factors(self, short: int) -> tuple[float, float]:
        """Return what an eigenvalue that was computed in float32 is off by at most, in units of
        2^-24: (of itself, of the root mean square of all).

        Measured: 36 of both together where all are equal, in two stages 92; of the root mean
        square 28 in sparse matrices of up to 256 columns, of which 1 number in 20 to 300 is not 0,
        15 in such ones of 512.
        """
        relative = 160.0 if openblas.in_two_stages(short, "float32") else 60.0
        return relative, 20.0 if short >= 400 else 40.0

    def is_finite(self, block: Array) -> bool:
        """Return whether a block holds neither NaN nor infinity."""
        return bool(np.isfinite(block.astype(np.float64, copy=False)).all())

    def qr_singular_values(self, short: int, blocks: Iterable[Array]) -> FloatArray:
        """Return the singular values of stacked blocks, descending, by QR decompositions folded
        over them and an SVD of the last triangle."""
        triangle: Array = np.zeros((0, short))
        for block in blocks:
            stacked = np.concatenate((triangle, block.astype(np.float64, copy=False)))
            triangle = np.asarray(np.linalg.qr(stacked, mode="r"))
        values: FloatArray = np.linalg.svd(triangle, compute_uv=False)
        return values
