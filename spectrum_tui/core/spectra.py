"""Singular values of a stored matrix, read in pieces and computed in float64.

The fast way takes the square roots of the eigenvalues of the Gram matrix of the shorter side,
accumulated from chunks: memory is that of the Gram matrix (134 MB at 4096), whatever the longer
side. Squaring costs accuracy in the small singular values, so each result is checked against a
bound on its own error (`scores.relative_error_bound`); where the bound is not met, a streamed QR
decomposition, as accurate as an SVD of the whole matrix, computes them again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectrum_tui.core.checkpoint import Tensor, unreadable
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.results import FloatArray
from spectrum_tui.core.scores import (
    EPS,
    Score,
    UnscorableError,
    relative_error_bound,
    spectrum_score,
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


def cost(rows: int, columns: int) -> float:
    """Estimated work of one matrix, in float64 operations of a matrix product.

    2·k²·l for the Gram matrix, 5·k³ for its eigenvalues (measured: 2 to 3.5 times the product
    of its size), 40 for reading and widening an element, and 10⁷ to start at all.
    """
    if rows <= 1 or columns <= 1:
        return 0.0
    short, long = min(rows, columns), max(rows, columns)
    return 2.0 * short * short * long + 5.0 * short**3 + 40.0 * short * long + 1e7


def score_tensor(tensor: Tensor, rows: int, columns: int, device: str) -> Score:
    """The Spectrum score of a stored matrix, within 1e-9 of a float64 SVD.

    Raises UnscorableError (the matrix has no score) or CheckpointError (it cannot be read).
    """
    matrix = StoredMatrix(tensor, rows, columns)
    values, errors = gram_singular_values(matrix, device)
    if relative_error_bound(values, errors, rows, columns) > TOLERANCE:
        values = qr_singular_values(matrix, device)
    return spectrum_score(values, rows, columns)


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A rows x columns view of a tensor on disk, read by plain reads of byte ranges.

    Not through a memory map: a long-lived map makes resident memory grow with the file
    (+385 MB measured for a 384 MB file), and a truncated file would be a SIGBUS.
    """

    tensor: Tensor
    rows: int
    columns: int

    @property
    def short(self) -> int:
        """The shorter side: how many singular values there are."""
        return min(self.rows, self.columns)

    def chunks(self, device: str) -> Iterator[torch.Tensor]:
        """Float64 pieces with `short` columns each, that stacked have the same singular values.

        A tall matrix is read in blocks of rows; of a wide one the stored bytes are held and
        blocks of its columns are widened and transposed.
        """
        import torch

        step = max(1, CHUNK_ELEMENTS // self.short)
        if self.rows >= self.columns:
            for start in range(0, self.rows, step):
                block = self.read_rows(start, min(start + step, self.rows))
                yield block.to(device).to(torch.float64)
        else:
            whole = self.read_rows(0, self.rows).to(device)
            for start in range(0, self.columns, step):
                yield whole[:, start : start + step].to(torch.float64).T

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) in their stored type, on the CPU."""
        import torch

        row_bytes = self.tensor.nbytes // self.rows
        buffer = torch.empty((stop - start) * row_bytes, dtype=torch.uint8)
        _read_into(self.tensor, buffer.numpy().data, self.tensor.start + start * row_bytes)
        return buffer.view(_torch_dtype(self.tensor.dtype)).view(stop - start, self.columns)


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
        if matrix.tensor.dtype == "F64":  # perhaps only the squares overflow: QR will tell
            unknown = np.full(matrix.short, np.nan)
            return unknown, unknown
        raise UnscorableError("holds NaN or Inf")
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
        triangle = torch.linalg.qr(torch.cat((triangle, chunk)), mode="r").R
    if not bool(torch.isfinite(triangle).all()):
        raise UnscorableError("holds NaN or Inf")
    values: FloatArray = torch.linalg.svdvals(triangle).cpu().numpy()
    return values


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    return {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
    }[name]


def _read_into(tensor: Tensor, buffer: memoryview, offset: int) -> None:
    path = Path(tensor.file)
    try:
        with path.open("rb", buffering=0) as file:
            filled = 0
            while filled < len(buffer):
                count = os.preadv(file.fileno(), [buffer[filled:]], offset + filled)
                if count == 0:
                    raise CheckpointError(
                        f"{path.name} ends in the middle of {tensor.name}.",
                        "The file changed during the scan; download it again.",
                        field="model",
                    )
                filled += count
    except OSError as exc:
        raise unreadable(path, exc) from None
