"""A product up @ down of two small factors: approximated, given more rank, averaged, measured.

`down` is LoRA's A (rank x inputs), `up` its B (outputs x rank); both may have the same dimensions
in front, one pair for each. The product itself (outputs x inputs) is never made: with the QR
factors up = Q1 R1 and downᵀ = Q2 R2, its singular values are those of R1 R2ᵀ (rank x rank), and
its singular vectors are that matrix's, rotated by Q1 and Q2 (Golub and Van Loan, Matrix
Computations, 4th edition, section 5.2 and theorem 2.4.8). All in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Pair = tuple[torch.Tensor, torch.Tensor]
    """(down, up)"""


def best_pair(down: torch.Tensor, up: torch.Tensor, rank: int) -> Pair:
    """Return the (down, up) of at most `rank` whose product is nearest to up @ down, in the
    Frobenius norm.

    The new rows of down are orthogonal and as long as the old ones were (root mean square), so
    that a step of training moves the product by as much as before; one that the product has no use
    for has a zero column in up, and can still learn. There are fewer than `rank` where the factors
    have fewer rows. On the device and in the dtypes of the factors.
    """
    left, values, right = _decomposed(down, up)
    rank = min(rank, values.shape[-1])
    length = _row_length(down)
    new_down = length * right[..., :rank, :]
    new_up = left[..., :rank] * values[..., None, :rank] / length
    return new_down.to(down).contiguous(), new_up.to(up).contiguous()


def grown(
    down: torch.Tensor,
    up: torch.Tensor,
    rank: int,
    *,
    gaussian: bool = False,
    generator: torch.Generator | None = None,
) -> Pair:
    """Return the factors with as many more rows in down and columns in up as make `rank`.

    Rows start as PEFT starts them: uniform up to 1/√inputs (Kaiming's with a = √5), or normal of
    deviation 1/rank where it is told so. Columns are zero: the product stays what it is. Random
    numbers come from the CPU: the same `generator` gives the same rows on any device.
    """
    import torch

    *front, has, inputs = down.shape
    rows = torch.empty(*front, rank - has, inputs)
    if gaussian:
        rows.normal_(std=1 / rank, generator=generator)
    else:
        bound = 1 / math.sqrt(inputs)
        rows.uniform_(-bound, bound, generator=generator)
    columns = up.new_zeros(*up.shape[:-1], rank - has)
    return torch.cat([down, rows.to(down)], -2), torch.cat([up, columns], -1)


def mean_pair(pairs: Sequence[Pair], rank: int) -> Pair:
    """Return the (down, up) of at most `rank` whose product is nearest to the mean of the products
    of `pairs`, which are of one shape but for their ranks.

    The mean of up_i @ down_i is [up_1 … up_n] / n times the downs below each other.
    """
    import torch

    downs = torch.cat([down for down, _ in pairs], -2)
    ups = torch.cat([up for _, up in pairs], -1)
    return best_pair(downs, ups / len(pairs), rank)


def singular_values_of(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return the singular values of up @ down, descending, float64: as many as its rank can be."""
    return _decomposed(down, up)[1]


def _decomposed(
    down: torch.Tensor, up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(U, S, Vᵀ) of up @ down."""
    import torch

    q1, r1 = torch.linalg.qr(_wide(up))
    q2, r2 = torch.linalg.qr(_wide(down).mT)
    left, values, right = torch.linalg.svd(r1 @ r2.mT, full_matrices=False)
    return q1 @ left, values, right @ q2.mT


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    # Apple's GPUs have no float64.
    return tensor.detach().to("cpu" if tensor.device.type == "mps" else tensor.device).double()


def _row_length(down: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of the lengths of the rows; 1 where all are zero."""
    import torch

    squares = _wide(down).square().sum(-1).mean(-1)[..., None, None]
    return torch.where(squares > 0, squares, 1.0).sqrt()
