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
