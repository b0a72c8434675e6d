"""The map of differences against sets of layers, counted one by one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from spectrum_tui.core.comparison.compare import Comparison, compare
from spectrum_tui.core.comparison.differences import Differences, Where, shared_policy
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, Result
from tests import made


def shuffled(plain: Result, seed: int) -> Result:
    scores = plain.scores
    noise = np.random.default_rng(seed).lognormal(0, 1, len(scores))
    return replace(plain, scores=made.ranked(scores, scores.values * noise))


def selected(result: Result, mask: BoolArray) -> dict[tuple[str, int], set[str]]:
    """The chosen layers of each (type, block)."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in np.flatnonzero(mask).tolist():
        layer = result.scores.layers[row]
        kind = result.scores.type_names[int(result.scores.type_ids[row])]
        found[kind, int(layer.split(".")[2])].add(layer)
    return found


def expected(comparison: Comparison, policy: Policy, kind: str, blocks: range) -> Where:
    masks = comparison.masks(policy)
    a, b = (selected(r, m) for r, m in zip((comparison.a, comparison.b), masks, strict=True))
    in_a = {layer for block in blocks for layer in a[kind, block]}
    in_b = {layer for block in blocks for layer in b[kind, block]}
    kinds = [
        where
        for where, layers in (
            (Where.BOTH, in_a & in_b),
            (Where.ONLY_A, in_a - in_b),
            (Where.ONLY_B, in_b - in_a),
        )
        if layers
    ]
    return Where.MIXED if len(kinds) > 1 else kinds[0] if kinds else Where.NEITHER


@pytest.mark.parametrize("per_cell", [1, 2, 5, 40])
def test_every_cell_says_which_selection_has_its_layers(per_cell: int) -> None:
    plain = made.result(layers=16)
    comparison = compare(plain, shuffled(plain, 1))
    policy = Policy(percent=30)
    found = Differences(comparison)
    cells = found.cells(*comparison.masks(policy), per_cell)
    assert cells.shape == (7, -(-16 // per_cell))
    for row, place in enumerate(found.types.tolist()):
        kind = comparison.types[place].name
        for column in range(cells.shape[1]):
            blocks = range(column * per_cell, min(16, (column + 1) * per_cell))
            assert cells[row, column] == expected(comparison, policy, kind, blocks)
    kinds = {*cells.ravel().tolist()}
    assert kinds == {Where.MIXED} if per_cell == 40 else len(kinds) > 2


def test_layers_of_one_side_alone_and_without_a_block() -> None:
    plain = made.result(layers=4, types=2, names={3: "lm_head"})
    other = made.result(layers=6, types=3)
    comparison = compare(plain, other)
    found = Differences(comparison)
    assert found.blocks.tolist() == [0, 1, 2, 3, 4, 5]
    assert [comparison.types[place].name for place in found.types] == [
        kind for kind, _, _ in made.TYPES[:3]
    ]
    cells = found.cells(*comparison.masks(Policy(percent=100)))
    both, only_b = Where.BOTH, Where.ONLY_B
    assert cells.tolist() == [
        [both, both, both, only_b, only_b, only_b],
        [both] * 4 + [only_b] * 2,
        [only_b] * 6,
    ]
    none = found.cells(np.zeros(8, bool), np.zeros(18, bool))
    assert (none == Where.NEITHER).all()


def test_numbers_without_their_neighbours_take_no_columns() -> None:
    names = {0: "model.layers.999999.mlp.down_proj"}
    plain = made.result(layers=3, types=1, names=names)
    found = Differences(compare(plain, plain))
    assert found.blocks.tolist() == [1, 2, 999_999]
    assert found.cells(np.ones(3, bool), np.ones(3, bool)).tolist() == [[Where.BOTH] * 3]


@pytest.mark.parametrize("percent", [10, 30, 100])
def test_what_both_share_is_a_policy_of_a(percent: int) -> None:
    plain = made.result(layers=16, names={5: "odd[0-9]*.layers.5.mlp.down_proj"})
    comparison = compare(plain, shuffled(made.result(layers=12, types=5), 2))
    policy = Policy(percent=percent, bans=("model.layers.0.*",), pins=(plain.scores.layers[17],))
    mask_a, mask_b = comparison.masks(policy)
    layers_a = {plain.scores.layers[row] for row in np.flatnonzero(mask_a)}
    layers_b = {comparison.b.scores.layers[row] for row in np.flatnonzero(mask_b)}
    shared = comparison.selections[0].mask(shared_policy(comparison, policy))
    found = {plain.scores.layers[row] for row in np.flatnonzero(shared)}
    assert found == layers_a & layers_b
    assert found < layers_a


def test_ranks_say_who_rose_and_who_fell() -> None:
    plain = made.result(layers=5, types=1, snr=dict(enumerate((5.0, 4.0, 3.0, 2.0, 1.0))))
    other = made.result(layers=5, types=1, snr=dict(enumerate((1.0, 5.0, 3.0, 2.0, 4.0))))
    found = Differences(compare(plain, other))
    # Ranks 1 2 3 4 5 in A, 5 1 3 4 2 in B, of four places to move by.
    assert found.rank_cells().tolist() == [
        [Where.FAR_LOWER, Where.FAR_HIGHER, Where.SAME, Where.SAME, Where.FAR_HIGHER]
    ]
    # The means of two neighbours: (4 - 1) / 8, 0, and the last alone.
    assert found.rank_cells(2).tolist() == [[Where.FAR_LOWER, Where.SAME, Where.FAR_HIGHER]]


def test_a_small_change_of_rank_is_told_from_a_large_one() -> None:
    order = list(range(20))
    order[3], order[4] = order[4], order[3]
    plain = made.result(layers=20, types=1, snr={n: float(20 - n) for n in range(20)})
    other = made.result(layers=20, types=1, snr={n: float(20 - r) for n, r in enumerate(order)})
    row = Differences(compare(plain, other)).rank_cells()[0].tolist()
    assert (row[3], row[4], row[5]) == (Where.LOWER, Where.HIGHER, Where.SAME)


def test_layers_without_a_rank_on_both_sides_have_none() -> None:
    plain = made.result(layers=3, types=1, failed={1: "holds NaN or Inf"})
    row = Differences(compare(plain, made.result(layers=4, types=1))).rank_cells()[0].tolist()
    assert row[1] == row[3] == Where.NEITHER
