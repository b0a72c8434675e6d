"""Why a layer is selected or not: what is said of each is what the mask does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectrum_tui.core.policy_values import parse_budget
from spectrum_tui.core.results.policy import STEPS_OF_A_PERCENT, Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.results.standing import By, standing
from tests import made

RESULT = made.result(layers=12, types=3, snr={5: float("nan")})
SELECTION = Selection(RESULT)
NAMES = RESULT.scores.layers
MANY = Selection(made.result(layers=130, types=2))


@pytest.mark.parametrize("selection", [SELECTION, MANY])
@pytest.mark.parametrize("rule", ["per-type", "global-rank"])
def test_the_percentage_is_where_the_mask_changes(selection: Selection, rule: str) -> None:
    policy = Policy(percent=30, rule=rule)
    tenth = 1 / STEPS_OF_A_PERCENT
    for row in range(0, len(selection.rank), 7):
        found = standing(selection, policy, row)
        if not selection.rank[row]:
            assert found.by is By.NOTHING
            continue
        assert found.by is By.RULE and found.percent is not None
        at = selection.mask(replace(policy, percent=found.percent))[row]
        just_below = selection.mask(replace(policy, percent=round(found.percent - tenth, 1)))[row]
        assert at and not just_below
        assert found.selected == selection.mask(policy)[row] == (found.percent <= 30)


def test_a_layer_enters_at_a_tenth_of_a_percent() -> None:
    thirty = Selection(made.result(layers=30, types=1, embeddings=False))
    found = {
        rank: standing(thirty, Policy(), int(np.flatnonzero(thirty.rank == rank)[0])).percent
        for rank in (1, 25, 30)
    }
    assert found == {1: 3.4, 25: 83.4, 30: 100.0}


def test_a_layer_without_a_score_is_never_selected() -> None:
    assert standing(SELECTION, Policy(percent=100), 5).by is By.NOTHING


def test_a_type_of_its_own_percentage_names_that() -> None:
    policy = Policy(percent=10, type_percents=((RESULT.scores.type_names[1], 50),))
    for row in np.flatnonzero(RESULT.scores.type_ids == 1).tolist():
        found = standing(SELECTION, policy, row)
        assert found.by is By.TYPE and found.percent is not None
        assert found.selected == (found.percent <= 50) == SELECTION.mask(policy)[row]
    assert standing(SELECTION, policy, 0).by is By.RULE


def test_a_budget_takes_the_first_places() -> None:
    policy = Policy(budget=parse_budget("1B"), layers=9)
    found = [standing(SELECTION, policy, row) for row in range(len(NAMES)) if row != 5]
    assert sorted(one.place for one in found) == list(range(1, len(NAMES)))
    assert all(one.by is By.BUDGET and one.selected == (one.place <= 9) for one in found)


def test_what_is_said_by_hand_goes_before() -> None:
    policy = Policy(percent=50, pins=(NAMES[3],), bans=(NAMES[4],), blocks=((2, None),))
    wanted = {0: False, 3: True, 4: False}
    for row, selected in wanted.items():
        found = standing(SELECTION, policy, row)
        assert (found.by, found.selected) == (By.HAND, selected)


def test_embeddings_and_heads_train_while_they_are_on() -> None:
    selection = Selection(made.result(layers=4, types=1, names={2: "lm_head"}))
    for on in (True, False):
        found = standing(selection, Policy(percent=1, embeddings=on), 2)
        assert (found.by, found.selected) == (By.EMBEDDINGS, on)
