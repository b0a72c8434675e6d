"""Singular values of a stored matrix, read in pieces and computed in float64.

The fast way takes the square roots of the eigenvalues of the Gram matrix of the shorter side,
accumulated from chunks: memory is that of the Gram matrix (134 MB at 4096), whatever the longer
side. Squaring costs accuracy in the small singular values, so each result is checked against a
bound on its own error (`scores.relative_error_bound`); where the bound is not met, a streamed QR
decomposition, as accurate as an SVD of the whole matrix, computes them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spectrum_tui.core.results import FloatArray
from spectrum_tui.core.scores import (
    EPS,
    UnscorableError,
    relative_error_bound,
)

if TYPE_CHECKING:
    import torch

SCORABLE = ("F64", "F32", "F16", "BF16")
"""Stored types that are numbers as they stand; anything else is quantised or an index."""

CHUNK_ELEMENTS = 2**21
"""Elements that are float64 at one time beside the Gram matrix: 16 MiB."""

TOLERANCE = 1e-10
"""Largest relative error of a score that the fast way may have, ten times below the 1e-9 that
the program promises."""


class MatrixValues(Protocol):
    """Where the rows of a matrix are read from."""

    @property
    def by_rows(self) -> bool:
        """Whether reading it in pieces costs no more than at once."""
        ...

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop), on the CPU, in the type that the values have when decoded."""
        ...


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values, descending, and how far the SNR made of them may be off, relative."""

    values: FloatArray
    error: float


def singular_values(values: MatrixValues, rows: int, columns: int, device: str) -> Spectrum:
    """The singular values of a stored matrix: the SNR is within 1e-9 of a float64 SVD's.

    Raises UnscorableError (it has no score) or CheckpointError (it cannot be read).
    """
    matrix = StoredMatrix(values, rows, columns)
    singular, errors = gram_singular_values(matrix, device)
    error = relative_error_bound(singular, errors, rows, columns)
    if error > TOLERANCE:
        return Spectrum(qr_singular_values(matrix, device), TOLERANCE)
    return Spectrum(singular, error)


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

    def chunks(self, device: str) -> Iterator[torch.Tensor]:
        """Float64 pieces with `short` columns each, that stacked have the same singular values.

        A tall matrix is read in blocks of rows; of a wide one, and of one that can only be
        decoded whole, the stored values are held and blocks of them are widened.
        """
        import torch

        step = max(1, CHUNK_ELEMENTS // self.short)
        tall = self.rows >= self.columns
        if tall and self.values.by_rows:
            for start in range(0, self.rows, step):
                block = self.values.read_rows(start, min(start + step, self.rows))
                yield block.to(device).to(torch.float64)
            return
        whole = self.values.read_rows(0, self.rows).to(device)
        whole = whole if tall else whole.T
        for start in range(0, len(whole), step):
            yield whole[start : start + step].to(torch.float64)


def gram_singular_values(matrix: StoredMatrix, device: str) -> tuple[FloatArray, FloatArray]:
    """(singular values in descending order, a bound on each one's absolute error).

    The eigenvalues of the computed Gram matrix are off by at most d = c·eps·lambda_max, with
    c = 4·sqrt(longer side) (measured: below 1.6·sqrt for 64 to 2000 columns); so a singular
    value s is off by at most d/s, and by sqrt(d) where it is lost in rounding.
    """
    import torch

    gram = torch.zeros(matrix.short, matrix.short, dtype=torch.float64, device=device)
    for chunk in matrix.chunks(device):
        gram.addmm_(chunk.T, chunk)
        if not bool(torch.isfinite(gram.diagonal()).all()):
            _refuse_non_finite(chunk)
            unknown = np.full(matrix.short, np.nan)  # squares overflow: QR takes none
            return unknown, unknown
    eigenvalues = torch.linalg.eigvalsh(gram).flip(0).clamp_(min=0.0).cpu().numpy()
    values: FloatArray = np.sqrt(eigenvalues)
    slack = 4.0 * np.sqrt(max(matrix.rows, matrix.columns)) * EPS * eigenvalues[0]
    return values, slack / np.maximum(values, np.sqrt(slack) or 1.0)


def qr_singular_values(matrix: StoredMatrix, device: str) -> FloatArray:
    """Singular values by a QR decomposition folded over the chunks, then an SVD of R.

    Backward stable like an SVD of the whole matrix (the values are off by some eps·S[0]), at
    the memory of R; about four times the work of the Gram matrix.
    """
    import torch

    triangle = torch.zeros(0, matrix.short, dtype=torch.float64, device=device)
    for chunk in matrix.chunks(device):
        _refuse_non_finite(chunk)
        triangle = torch.linalg.qr(torch.cat((triangle, chunk)), mode="r").R
    values: FloatArray = torch.linalg.svdvals(triangle).cpu().numpy()
    return values


def _refuse_non_finite(chunk: torch.Tensor) -> None:
    """Before any work on it: LAPACK would go on with NaN for minutes."""
    import torch

    if not bool(torch.isfinite(chunk).all()):
        raise UnscorableError("holds NaN or Inf")
