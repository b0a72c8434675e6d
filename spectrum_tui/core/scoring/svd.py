"""Singular values of a stored matrix, read in pieces.

The ordinary way takes the square roots of the eigenvalues of the Gram matrix of the shorter side,
accumulated from chunks: memory is that of the Gram matrix (134 MB at 4096), whatever the longer
side. Squaring costs accuracy in the small singular values, so each result is checked against a
bound on its own error (`snr.relative_error_bound`); where the bound is not met, a streamed QR
decomposition, as accurate as an SVD of the whole matrix, computes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring import sharing
from spectrum_tui.core.scoring.on_cpu import Cpu
from spectrum_tui.core.scoring.on_torch import Torch
from spectrum_tui.core.scoring.snr import EPS, UnscorableError, relative_error_bound
from spectrum_tui.core.stored_types import Array

if TYPE_CHECKING:
    import torch

EPS32 = 2.0**-24
"""Half the distance of two neighbouring float32 numbers, relative: the largest rounding error."""

SCORABLE = ("F64", "F32", "F16", "BF16")
"""Stored types that are numbers as they stand; anything else is quantised or an index."""

CHUNK_ELEMENTS = 2**19
"""Elements that are widened at one time beside the Gram matrix: 4 MiB of float64. Blocks of an
eighth as many rows as columns at least, since each is added to the whole Gram matrix."""

STRIP_ELEMENTS = 2**24
"""Elements that are held as they are stored: 32 MiB of bfloat16. A strip of a wide matrix is read
row by row, of 4,096 rows 8 KiB at a time."""

EXACT, FAST = "exact", "fast"
"""`exact`: float64 throughout. `fast`: float32 where its error provably changes nothing that
matters, float64 for the rest."""

DTYPES = {EXACT: "float64", FAST: "float32"}

TOLERANCE = {EXACT: 5e-10, FAST: 1e-4}
"""Largest relative error of an SNR that the Gram matrix may bring before a better way is taken;
for `exact`, half of the 1e-9 that the program promises."""

WAYS = {EXACT: (EXACT,), FAST: (FAST, EXACT)}
"""The Gram matrices that are tried in turn before the QR decomposition."""

RANGES = {EXACT: (1e-285, 1e300), FAST: (1e-18, 1e30)}
"""Of the largest eigenvalue; outside of them those of the small ones, or their errors, under- or
overflow, and a better way is taken."""


_COSTS = {EXACT: (1.0, 2.2, 1000.0, 105.0, 1.0e7), FAST: (0.51, 1.45, 650.0, 80.0, 9.0e6)}
"""Of k²·l, k³, k², k·l, and of each matrix."""


def cost(rows: int, columns: int, precision: str = EXACT) -> float:
    """Estimated work of one matrix, in multiplications of a matrix product in float64.

    With k the shorter side and l the longer one: k²·l for half of the Gram matrix; k³ and k² for
    its eigenvalues (the second is what a step on a whole row costs at least); k·l for reading and
    widening; and what it takes to start at all. Fitted to 22 shapes from 64×64 to 14336×4096 and
    49152×576 on one core of an AMD EPYC: a unit takes 2.0·10⁻¹¹ s in either precision, 1.8 to 2.3
    in each shape.
    """
    if rows <= 1 or columns <= 1:
        return 0.0
    k, long = float(min(rows, columns)), float(max(rows, columns))
    product, cube, square, read, start = _COSTS[precision]
    return product * k * k * long + cube * k**3 + square * k * k + read * k * long + start


class MatrixValues(Protocol):
    """Where the rows of a matrix are read from."""

    @property
    def by_rows(self) -> bool:
        """Whether reading it in pieces costs no more than at once."""
        ...

    def read_rows(self, start: int, stop: int) -> Array | torch.Tensor:
        """Rows [start, stop), in the type that the values have when decoded."""
        ...

    def read_columns(self, rows: int, start: int, stop: int) -> Array | torch.Tensor:
        """Columns [start, stop) of the first `rows` rows, alike."""
        ...


class Gram(Protocol):
    """The sum of block^T·block over the blocks of a matrix."""

    def add(self, block: Any) -> None:
        """Add the products of a block of `short` columns, stored in whatever type."""
        ...

    def add_sum(self, other: Any) -> None:
        """Add what was summed over other blocks of the same matrix."""
        ...

    def is_finite(self) -> bool:
        """Return whether the sums of squares are: NaN and infinity stay what they are."""
        ...

    def eigenvalues(self) -> FloatArray | None:
        """Return them in ascending order, float64; None where they are not found. The sums are
        lost."""
        ...


class Device(Protocol):
    """What singular values are computed on: a library on a device."""

    parts: int
    """Parts that a matrix is split into at the most, for threads that help each other."""

    chunks: int
    """Blocks of CHUNK_ELEMENTS that it is given at one time."""

    def takes_float32(self, short: int) -> bool:
        """Return whether the eigenvalues of `short` columns have the errors in float32 that
        `eigenvalue_errors` bounds."""
        ...

    def gram(self, short: int, dtype: str) -> Gram:
        """Return an empty sum of products of `short` columns, float64 or float32."""
        ...

    def is_finite(self, block: Any) -> bool:
        """Return whether a block holds neither NaN nor infinity."""
        ...

    def float32_factors(self, short: int) -> tuple[FloatArray | float, float]:
        """Return what an eigenvalue that was computed in float32 is off by at most, in units of
        EPS32: (of each itself, descending, of the root mean square of all)."""
        ...

    def qr_singular_values(self, short: int, blocks: Iterable[Any]) -> FloatArray:
        """Return the singular values of stacked blocks, descending, by QR decompositions folded
        over them and an SVD of the last triangle."""
        ...


TORCH_ON_CPU = "torch"
"""The name of the CPU where torch computes."""


def device_of(name: str) -> Device:
    """Return the device of a name of torch's; the CPU is without torch."""
    if name == "cpu":
        return Cpu()
    return Torch("cpu" if name == TORCH_ON_CPU else name)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values, descending, and how far the SNR made of them may be off, relative."""

    values: FloatArray
    error: float


def singular_values(
    values: MatrixValues, rows: int, columns: int, device: str, precision: str = EXACT
) -> Spectrum:
    """Return the singular values of a stored matrix, by the cheapest method that is accurate
    enough.

    `exact`: the SNR made of them is within 1e-9 of a float64 SVD's. `fast`: within the error
    that is returned, at most 1e-4, and no value lies on the wrong side of the threshold.
    Raises UnscorableError (it has no score) or CheckpointError (it cannot be read).
    """
    matrix = StoredMatrix(values, rows, columns)
    if precision == FAST and not device_of(device).takes_float32(matrix.short):
        precision = EXACT
    for way in WAYS[precision]:
        singular, errors = gram_singular_values(matrix, device, way)
        error = relative_error_bound(singular, errors, rows, columns)
        if error <= TOLERANCE[way]:
            return Spectrum(singular, error)
    return Spectrum(qr_singular_values(matrix, device), TOLERANCE[EXACT])


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A rows x columns matrix on disk, and the blocks that it is worked on in."""

    values: MatrixValues
    rows: int
    columns: int

    @property
    def short(self) -> int:
        """The shorter side: how many singular values there are."""
        return min(self.rows, self.columns)

    @property
    def long(self) -> int:
        """The longer side, which is cut into blocks."""
        return max(self.rows, self.columns)

    def parts(self, most: int) -> int:
        """Return how many parts of the longer side are worth a Gram matrix each: `most` at the
        most, by the shape alone."""
        return max(1, min(most, self.long // (2 * self.short))) if self.values.by_rows else 1

    def blocks(self, part: int = 0, parts: int = 1, chunks: int = 1) -> Iterator[Any]:
        """Yield blocks of one of `parts` parts, with `short` columns each, as they are stored;
        those of all parts stacked have the same singular values as the matrix.

        Blocks of a tall matrix are rows of it, those of a wide one columns. Where they cannot be
        read alone, the whole matrix is held.
        """
        step = max(1, chunks * CHUNK_ELEMENTS // self.short, self.short // 8)
        length = -(-self.long // (step * parts)) * step
        first, last = part * length, min((part + 1) * length, self.long)
        for held in self._held(first, last, step):
            for start in range(0, len(held), step):
                yield held[start : start + step]
            del held  # before the next is read

    def _held(self, first: int, last: int, step: int) -> Iterator[Any]:
        """Yield what is read at one time, with `short` columns, in whole multiples of `step` rows:
        so that the blocks are the same however much is held."""
        tall = self.rows >= self.columns
        if not self.values.by_rows:
            whole = self.values.read_rows(0, self.rows)
            yield whole if tall else whole.T
            return
        strip = max(step, STRIP_ELEMENTS // self.short // step * step)
        for start in range(first, last, strip):
            stop = min(start + strip, last)
            if tall:
                yield self.values.read_rows(start, stop)
            else:
                yield self.values.read_columns(self.rows, start, stop).T


def gram_singular_values(
    matrix: StoredMatrix, device: str, precision: str = EXACT
) -> tuple[FloatArray, FloatArray]:
    """(singular values in descending order, a bound on each one's absolute error).

    An eigenvalue of the Gram matrix that is off by d at most, d that of `eigenvalue_errors`,
    leaves the root of it off by s - sqrt(s^2 - d) = d / (s + sqrt(s^2 - d)) at most, and by
    sqrt(d) where it is lost in rounding.
    """
    on = device_of(device)
    gram = _gram(matrix, on, precision)
    eigenvalues = gram.eigenvalues() if gram is not None else None
    if eigenvalues is None:
        return _unknown(matrix.short)
    found: FloatArray = np.maximum(eigenvalues[::-1], 0.0)
    low, high = RANGES[precision]
    if not low < found[0] < high:
        return _unknown(matrix.short)
    values: FloatArray = np.sqrt(found)
    slack = eigenvalue_errors(found, matrix.long, precision, on)
    least = np.sqrt(np.maximum(found - slack, 0.0)) + np.finfo(np.float64).tiny
    return values, slack / np.maximum(values + least, np.sqrt(slack) + np.finfo(np.float64).tiny)


def _gram(matrix: StoredMatrix, device: Device, precision: str) -> Gram | None:
    """Return the Gram matrix of the shorter side; None where squares overflow, if nothing worse.

    The longest are summed in parts, in their order. Whether it is finite is asked once, since
    each time a GPU would be waited for. Raises UnscorableError, in float64, for a matrix that is
    not finite.
    """
    parts = matrix.parts(device.parts)

    def summed(part: int) -> Gram:
        gram = device.gram(matrix.short, DTYPES[precision])
        for block in matrix.blocks(part, parts, device.chunks):
            gram.add(block)
        return gram

    grams = iter(sharing.each(summed, parts))
    total = next(grams)
    for gram in grams:
        total.add_sum(gram)
    if total.is_finite():
        return total
    if precision == EXACT:
        for _ in _finite(device, matrix.blocks(chunks=device.chunks)):
            pass
    return None


def eigenvalue_errors(
    eigenvalues: FloatArray, long: int, precision: str, device: Device
) -> FloatArray:
    """Return a bound on the absolute error of each eigenvalue (descending) of a computed Gram
    matrix.

    In float64 the coarse bound suffices: 4·sqrt(long)·eps·lambda_max (measured, with the errors
    of the SVD that it was compared with: at most 2.3·sqrt(long)). In float32 that would be
    useless. There, an eigenvalue has an error relative to itself, and its share of the noise that
    rounding spreads over all directions, which goes with the root mean square of all of them; the
    factors are the device's. Measured over normal, trained, shifted, steep, sparse and orthogonal
    matrices of 128 to 2048 columns and up to 49152 rows.
    """
    if precision == EXACT:
        bound = 4.0 * np.sqrt(long) * EPS * eigenvalues[0]
        return np.full(len(eigenvalues), bound)
    rms = float(np.sqrt(np.mean(np.square(eigenvalues))))
    relative, of_all = device.float32_factors(len(eigenvalues))
    errors: FloatArray = EPS32 * (relative * eigenvalues + of_all * rms)
    return errors


def _unknown(count: int) -> tuple[FloatArray, FloatArray]:
    """Values of which nothing is known, so that a better way is taken."""
    nothing = np.full(count, np.nan)
    return nothing, nothing


def qr_singular_values(matrix: StoredMatrix, device: str) -> FloatArray:
    """Singular values by a QR decomposition folded over the blocks, then an SVD of R.

    Backward stable like an SVD of the whole matrix (the values are off by some eps·S[0]), at
    the memory of R; about four times the work of the Gram matrix.
    """
    on = device_of(device)
    return on.qr_singular_values(matrix.short, _finite(on, matrix.blocks(chunks=on.chunks)))


def _finite(device: Device, blocks: Iterable[Any]) -> Iterator[Any]:
    """Refuse before any work on it what is not finite: LAPACK would go on with NaN for minutes."""
    for block in blocks:
        if not device.is_finite(block):
            raise UnscorableError("holds NaN or Inf")
        yield block
