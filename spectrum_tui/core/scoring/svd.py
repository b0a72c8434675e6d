"""Singular values of a stored matrix, read in pieces.

The ordinary way takes the square roots of the eigenvalues of the Gram matrix of the shorter side,
accumulated from chunks: memory is that of the Gram matrix (134 MB at 4096), whatever the longer
side. Squaring costs accuracy in the small singular values, so each result is checked against a
bound on its own error (`snr.relative_error_bound`); where the bound is not met, a streamed QR
decomposition, as accurate as an SVD of the whole matrix, computes them again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring.snr import EPS, UnscorableError, relative_error_bound

if TYPE_CHECKING:
    import torch

EPS32 = 2.0**-24
"""Half the distance of two neighbouring float32 numbers, relative: the largest rounding error."""

SCORABLE = ("F64", "F32", "F16", "BF16")
"""Stored types that are numbers as they stand; anything else is quantised or an index."""

CHUNK_ELEMENTS = 2**21
"""Elements that are float64 at one time beside the Gram matrix: 16 MiB."""

STRIP_ELEMENTS = 2**27
"""Elements of a wide matrix that are held as they are stored: 256 MiB of bfloat16. The widest of
an 8 B model have 2^26, those of 405 B models 2^30; one of 2^33 takes 17 GB."""

EXACT, FAST = "exact", "fast"
"""`exact`: float64 throughout. `fast`: float32 where its error provably changes nothing that
matters, float64 for the rest."""

TOLERANCE = {EXACT: 1e-10, FAST: 1e-4}
"""Largest relative error of an SNR that the Gram matrix may bring before a better way is taken;
for `exact`, ten times below the 1e-9 that the program promises."""

WAYS = {EXACT: (EXACT,), FAST: (FAST, EXACT)}
"""The Gram matrices that are tried in turn before the QR decomposition."""

MIN_BLOCK = 64
"""Columns of a block of the Gram matrix below which a call costs more than it saves."""

MIN_SHARED = 512
"""Columns of a Gram matrix below which sharing its blocks out costs more than it saves."""

PADDING = 8
"""Columns between two rows that would otherwise share cache lines: 64 bytes of float64."""

FLOAT32_RANGE = (1e-18, 1e30)
"""Eigenvalues outside of it are left to float64: their neighbours would under- or overflow."""


def cost(rows: int, columns: int, precision: str = EXACT) -> float:
    """Estimated work of one matrix, in multiplications of a matrix product.

    With k the shorter side and l the longer one: k²·l for half of the Gram matrix; 1.2·k³ and
    2,000·k² for its eigenvalues (the second is what a step on a whole row costs at least); 40·k·l
    for reading and widening; 1.3·10⁷ to start at all. Fitted to 21 shapes from 64×64 to 4096×4096
    and 49152×576 on one core, where the seconds per unit stay within 20 % of each
    other (but for 32000×1024, whose rows collide in the cache: 1.6 times). In `fast` the product
    takes 0.36 of its time and the eigenvalues 0.62: what counts for the time left is their ratio.
    """
    if rows <= 1 or columns <= 1:
        return 0.0
    k, long = float(min(rows, columns)), float(max(rows, columns))
    product = k * k * long * (0.6 if precision == FAST else 1.0)
    return product + 1.2 * k**3 + 2000.0 * k * k + 40.0 * k * long + 1.3e7


class MatrixValues(Protocol):
    """Where the rows of a matrix are read from."""

    @property
    def by_rows(self) -> bool:
        """Whether reading it in pieces costs no more than at once."""
        ...

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop), on the CPU, in the type that the values have when decoded."""
        ...

    def read_columns(self, rows: int, start: int, stop: int) -> torch.Tensor:
        """Columns [start, stop) of the first `rows` rows, alike."""
        ...


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
    for way in WAYS[precision]:
        singular, errors = gram_singular_values(matrix, device, way)
        error = relative_error_bound(singular, errors, rows, columns)
        if error <= TOLERANCE[way]:
            return Spectrum(singular, error)
    return Spectrum(qr_singular_values(matrix, device), TOLERANCE[EXACT])


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A rows x columns matrix on disk, and the pieces that it is worked on in."""

    values: MatrixValues
    rows: int
    columns: int

    @property
    def short(self) -> int:
        """The shorter side: how many singular values there are."""
        return min(self.rows, self.columns)

    def chunks(self, device: str, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Pieces with `short` columns each, that stacked have the same singular values.

        A tall matrix is read in blocks of rows; of a wide one, strips of the stored values are
        held and blocks of them are widened, and so is all of one that can only be decoded whole.
        """
        step = max(1, CHUNK_ELEMENTS // self.short)
        for held in self._held(step):
            moved = held.to(device)
            for start in range(0, len(moved), step):
                yield _widened(moved[start : start + step], dtype)
            del held, moved  # before the next is read

    def _held(self, step: int) -> Iterator[torch.Tensor]:
        """Yield what is read at one time, with `short` columns, in whole multiples of `step` rows:
        so that the pieces are the same however much is held."""
        tall = self.rows >= self.columns
        if not self.values.by_rows:
            whole = self.values.read_rows(0, self.rows)
            yield whole if tall else whole.T
        elif tall:
            for start in range(0, self.rows, step):
                yield self.values.read_rows(start, min(start + step, self.rows))
        else:
            strip = max(step, STRIP_ELEMENTS // self.rows // step * step)
            for start in range(0, self.columns, strip):
                stop = min(start + strip, self.columns)
                if stop - start == self.columns:
                    yield self.values.read_rows(0, self.rows).T
                else:
                    yield self.values.read_columns(self.rows, start, stop).T


def _widened(block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the block in another type, its rows a little apart where they would share cache lines.

    Rows of 1024 float64 values lie 8 KiB apart, which maps their columns to the same few lines
    of a CPU's cache: half of the Gram matrix then takes 120 ms for 2048 rows, padded 69 ms.
    """
    import torch

    rows, columns = block.shape
    if columns % 512 or block.device.type != "cpu":
        return block.to(dtype)
    padded = torch.empty(rows, columns + PADDING, dtype=dtype)[:, :columns]
    return padded.copy_(block)


def gram_singular_values(
    matrix: StoredMatrix, device: str, precision: str = EXACT
) -> tuple[FloatArray, FloatArray]:
    """(singular values in descending order, a bound on each one's absolute error).

    An eigenvalue of the Gram matrix that is off by d makes its singular value s off by at most
    d/s, and by sqrt(d) where it is lost in rounding; d is that of `eigenvalue_errors`.
    """
    import torch

    dtype = torch.float64 if precision == EXACT else torch.float32
    gram = torch.zeros(matrix.short, matrix.short, dtype=dtype, device=device)
    for chunk in matrix.chunks(device, dtype):
        _add_gram(gram, chunk)
        if not bool(torch.isfinite(gram.diagonal()).all()):
            if precision == EXACT:
                _refuse_non_finite(chunk)
            return _unknown(matrix.short)  # squares overflow, if nothing worse
    eigenvalues = torch.linalg.eigvalsh(gram, UPLO="L").flip(0).double().clamp_(min=0.0)
    found: FloatArray = eigenvalues.cpu().numpy()
    low, high = FLOAT32_RANGE
    if precision == FAST and not low < found[0] < high:
        return _unknown(matrix.short)
    values: FloatArray = np.sqrt(found)
    slack = eigenvalue_errors(found, max(matrix.rows, matrix.columns), precision)
    return values, slack / np.maximum(values, np.sqrt(slack) + np.finfo(np.float64).tiny)


def eigenvalue_errors(eigenvalues: FloatArray, long: int, precision: str) -> FloatArray:
    """Return a bound on the absolute error of each eigenvalue (descending) of a computed Gram
    matrix.

    In float64 the coarse bound suffices: 4·sqrt(long)·eps·lambda_max (measured: below 1.6·sqrt).
    In float32 that would be useless. There, an eigenvalue has an error relative to itself, and
    its share of the noise that rounding spreads over all directions, which goes with the root
    mean square of all of them. Measured over normal, trained, steep, sparse and orthogonal
    matrices of 128 to 2048 columns: at most 8·sqrt(k)·eps·lambda among the largest tenth,
    35·eps·lambda below, and 12·eps·rms; here with a margin.
    """
    if precision == EXACT:
        bound = 4.0 * np.sqrt(long) * EPS * eigenvalues[0]
        return np.full(len(eigenvalues), bound)
    rms = float(np.sqrt(np.mean(np.square(eigenvalues))))
    relative = 60.0 * eigenvalues
    top = slice(0, -(-len(eigenvalues) // 10))
    relative[top] = np.maximum(60.0, 10.0 * np.sqrt(len(eigenvalues))) * eigenvalues[top]
    errors: FloatArray = EPS32 * (relative + 20.0 * rms)
    return errors


def _unknown(count: int) -> tuple[FloatArray, FloatArray]:
    """Values of which nothing is known, so that a better way is taken."""
    nothing = np.full(count, np.nan)
    return nothing, nothing


class _Helpers(threading.local):
    """Who takes part in the products of the matrix that this thread has in work."""

    pool: Executor | None = None


_helpers = _Helpers()


@contextmanager
def helped_by(pool: Executor | None) -> Iterator[None]:
    """While it lasts, the blocks of this thread's Gram matrices are shared out to the pool.

    Each block is one product in one thread, so that scores are the same to the last bit for any
    number of them. More threads inside LAPACK would not be: eigenvalues differ by 1e-14 then.
    """
    _helpers.pool = pool
    try:
        yield
    finally:
        _helpers.pool = None


def _add_gram(gram: torch.Tensor, chunk: torch.Tensor) -> None:
    """Add chunk^T·chunk to the lower half of the Gram matrix, which is all that is looked at.

    In eight steps 9/16 of the products; at 4096 columns 0.6 of the time of the whole.
    """
    columns = len(gram)
    step = max(MIN_BLOCK, -(-columns // 8))

    def add(start: int) -> None:
        end = min(start + step, columns)
        gram[start:end, :end].addmm_(chunk[:, start:end].T, chunk[:, :end])

    starts = range(0, columns, step)
    pool = _helpers.pool if columns >= MIN_SHARED else None
    for _ in pool.map(add, reversed(starts)) if pool is not None else map(add, starts):
        pass


def qr_singular_values(matrix: StoredMatrix, device: str) -> FloatArray:
    """Singular values by a QR decomposition folded over the chunks, then an SVD of R.

    Backward stable like an SVD of the whole matrix (the values are off by some eps·S[0]), at
    the memory of R; about four times the work of the Gram matrix.
    """
    import torch

    triangle = torch.zeros(0, matrix.short, dtype=torch.float64, device=device)
    for chunk in matrix.chunks(device, torch.float64):
        _refuse_non_finite(chunk)
        triangle = torch.linalg.qr(torch.cat((triangle, chunk)), mode="r").R
    values: FloatArray = torch.linalg.svdvals(triangle).cpu().numpy()
    return values


def _refuse_non_finite(chunk: torch.Tensor) -> None:
    """Before any work on it: LAPACK would go on with NaN for minutes."""
    import torch

    if not bool(torch.isfinite(chunk).all()):
        raise UnscorableError("holds NaN or Inf")
