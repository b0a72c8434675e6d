"""A small matrix in place of a large gradient, that keeps norms and angles in expectation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIDE = 64
"""Rows and columns of a sketch at the most."""
_CHUNK = 2**14
"""Rows that are projected at a time: of a table of tokens, no projection of 150,000 rows."""
ROWS, COLUMNS = 0, 1
"""The sides of a matrix, each with signs of its own."""


def sketch(matrix: torch.Tensor) -> torch.Tensor:
    """Return L A R of at most 64 x 64 for a parameter of any shape seen as (its last dimension
    beside all others) in float32 on the CPU.

    The elements of L and R are ±1/√64 with equal chance (Achlioptas 2003, "Database-friendly random
    projections", theorem 1.1), so that the expectation of ‖L A R‖² and of inner products is that
    of A; a side of at most 64 is left as it is. They are drawn with a seed from the size and the
    side: layers of one shape share them, and their sketches can be compared.
    """
    import torch

    matrix = matrix.reshape(-1, matrix.shape[-1]) if matrix.ndim > 1 else matrix.reshape(1, -1)
    rows, columns = matrix.shape
    narrow = matrix.float()
    if columns > SIDE:
        narrow = narrow @ signs(columns, COLUMNS).to(matrix.device)
    if rows > SIDE:
        whole = torch.zeros(SIDE, narrow.shape[1], device=matrix.device)
        at = 0
        for some in _signs(rows, ROWS):
            whole += some.T.to(matrix.device) @ narrow[at : at + len(some)]
            at += len(some)
        narrow = whole
    return narrow.cpu()


def signs(size: int, side: int) -> torch.Tensor:
    """Return the projection of a side of this size: size x 64."""
    import torch

    return torch.cat(list(_signs(size, side)))


def _signs(size: int, side: int) -> Iterator[torch.Tensor]:
    """Yield the projection of one side in pieces, each (rows of it) x 64."""
    import torch

    generator = torch.Generator().manual_seed(2 * size + side)
    for at in range(0, size, _CHUNK):
        count = min(_CHUNK, size - at)
        bits = torch.randint(0, 2, (count, SIDE), generator=generator)
        yield (bits * 2 - 1).float() / SIDE**0.5
