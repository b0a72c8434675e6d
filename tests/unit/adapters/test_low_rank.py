"""Factors of low rank against numpy's SVD of the whole product, in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from spectrum_tui.core.adapters.low_rank import best_pair, grown, mean_pair, singular_values_of

Matrix = npt.NDArray[np.float64]


def factors(
    rank: int, inputs: int, outputs: int, *front: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(*front, rank, inputs, generator=generator, dtype=torch.float64)
    return down, torch.randn(*front, outputs, rank, generator=generator, dtype=torch.float64)


def best_of(product: Matrix, rank: int) -> Matrix:
    left, values, right = np.linalg.svd(product, full_matrices=False)
    return np.asarray((left[:, :rank] * values[:rank]) @ right[:rank])


@pytest.mark.parametrize("shape", [(6, 20, 30), (6, 30, 20), (8, 5, 40), (8, 40, 5), (1, 4, 4)])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_best_pair_is_that_of_the_svd(shape: tuple[int, int, int], rank: int) -> None:
    down, up = factors(*shape)
    new_down, new_up = best_pair(down, up, rank)
    assert new_down.shape[0] == new_up.shape[1] == min(rank, *shape)
    np.testing.assert_allclose(
        (new_up @ new_down).numpy(), best_of((up @ down).numpy(), rank), atol=1e-12
    )
    values = np.linalg.svd((up @ down).numpy(), compute_uv=False)[: min(shape)]
    np.testing.assert_allclose(singular_values_of(down, up).numpy(), values, atol=1e-12)


def test_rows_keep_their_length_and_those_without_use_can_learn() -> None:
    down, up = factors(6, 20, 30)
    new_down, new_up = best_pair(down, torch.zeros_like(up), 3)
    assert not new_up.any()
    lengths = torch.linalg.norm(new_down, dim=1)
    assert lengths.tolist() == pytest.approx([down.square().sum(1).mean().sqrt().item()] * 3)
    zero, some = best_pair(torch.zeros_like(down), up, 3)
    assert not (some @ zero).any()
    assert zero.isfinite().all() and some.isfinite().all()


def test_several_pairs_at_once_and_small_dtypes() -> None:
    down, up = factors(6, 20, 30, 4)
    new_down, new_up = best_pair(down, up, 2)
    assert (new_down.shape, new_up.shape) == ((4, 2, 20), (4, 30, 2))
    for one in range(4):
        wanted = best_of((up[one] @ down[one]).numpy(), 2)
        np.testing.assert_allclose((new_up[one] @ new_down[one]).numpy(), wanted, atol=1e-12)
    rounded, _ = best_pair(down.bfloat16(), up, 2)
    assert rounded.dtype == torch.bfloat16


def test_growing_keeps_the_product() -> None:
    down, up = factors(3, 20, 30)
    new_down, new_up = grown(down, up, 7, generator=torch.Generator().manual_seed(1))
    assert (new_down.shape, new_up.shape) == ((7, 20), (30, 7))
    assert torch.equal(new_down[:3], down) and torch.equal(new_up[:, :3], up)
    assert not new_up[:, 3:].any()
    assert (new_up @ new_down - up @ down).abs().max() < 1e-12
    bound = 1 / math.sqrt(20)
    assert new_down[3:].abs().max() <= bound
    assert new_down[3:].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    again, _ = grown(down, up, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again, new_down)
    normal, _ = grown(down, up, 103, gaussian=True)
    assert normal[3:].std().item() == pytest.approx(1 / 103, rel=0.1)


def test_the_mean_of_several_products() -> None:
    pairs = [factors(rank, 20, 30, seed=rank) for rank in (2, 3, 4)]
    mean = np.mean([(up @ down).numpy() for down, up in pairs], axis=0)
    for rank in (1, 4, 9):
        down, up = mean_pair(pairs, rank)
        np.testing.assert_allclose((up @ down).numpy(), best_of(mean, rank), atol=1e-12)
