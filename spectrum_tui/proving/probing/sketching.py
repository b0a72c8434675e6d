"""A small matrix in place of a large gradient, that keeps norms and angles in expectation."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from spectrum_tui.core.probing.sketches import SIDE

_CHUNK = 2**14
"""Rows that are projected at a time: of a table of tokens, no projection of 150,000 rows."""


def sketch(matrix: torch.Tensor) -> torch.Tensor:
    """Return L A R of at most 64 x 64 for a parameter of any shape seen as (its last dimension
    beside all others) in float32 on the CPU.

    The elements of L and R are ±1/√64 with equal chance (Achlioptas 2003, "Database-friendly random
    projections", theorem 1.1), so that the expectation of ‖L A R‖² and of inner products is that
    of A; a side of at most 64 is left as it is. They are drawn with a seed from the size and the
    side: layers of one shape share them, and their sketches can be compared.
    """
    matrix = matrix.reshape(-1, matrix.shape[-1]) if matrix.ndim > 1 else matrix.reshape(1, -1)
    rows, columns = matrix.shape
    narrow = matrix.float()
    if columns > SIDE:
        signs = torch.cat(list(_signs(columns, side=1)))
        narrow = narrow @ signs.to(matrix.device)
    if rows > SIDE:
        whole = torch.zeros(SIDE, narrow.shape[1], device=matrix.device)
        at = 0
        for signs in _signs(rows, side=0):
            whole += signs.T.to(matrix.device) @ narrow[at : at + len(signs)]
            at += len(signs)
        narrow = whole
    return narrow.cpu()


def _signs(size: int, side: int) -> Iterator[torch.Tensor]:
    """Yield the projection of one side in pieces, each (rows of it) x 64."""
    generator = torch.Generator().manual_seed(2 * size + side)
    for at in range(0, size, _CHUNK):
        count = min(_CHUNK, size - at)
        bits = torch.randint(0, 2, (count, SIDE), generator=generator)
        yield (bits * 2 - 1).float() / SIDE**0.5
