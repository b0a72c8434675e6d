"""What the results screen knows, without a screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.policy_values import parse_budget
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.settings import METRICS, Settings
from tests import made


def test_the_choice_is_kept_for_the_same_scores_with_sizes() -> None:
    state = ResultState(made.with_metrics(made.result()), Settings(top_percent=25))
    state.choice = replace(state.choice, tiers=Tiers(70))
    state.choose(percent=31, embeddings=False)
    state.rank_by("calibrated")
    state.kind = "axolotl"
    other = state.of(made.with_metrics(made.with_parameters(made.result())))
    choice = other.choice
    assert (choice.percent, choice.policy.embeddings, choice.tiers) == (31, False, Tiers(70))
    assert (other.ranking.metric.name, other.kind) == ("calibrated", "axolotl")
    assert other.result.parameters


def test_embeddings_train_where_the_scores_before_had_none() -> None:
    state = ResultState(made.result(embeddings=False), Settings())
    assert not state.choice.selection.heads(state.choice.policy)
    sized = state.of(made.result()).choice
    assert sized.selection.heads(sized.policy)


def test_metrics_follow_one_another_and_the_choice_with_them() -> None:
    state = ResultState(made.with_metrics(made.result()), Settings(top_percent=25))
    for name in (*METRICS[1:], METRICS[0]):
        state.rank_by()
        assert state.ranking.metric.name == name
        assert state.choice.selection is state.ranking.selection
        assert (state.mask() == state.ranking.selection.mask(Policy(percent=25))).all()
        assert name in state.text()


def test_a_metric_that_is_not_there_changes_nothing() -> None:
    state = ResultState(made.result(), Settings(metric="calibrated"))
    for wanted in ("calibrated", ""):
        with pytest.raises(ResultsError, match="hold no calibrated"):
            state.rank_by(wanted)
    assert state.ranking.metric.name == "spectrum"


SIZED = made.with_parameters(made.result(layers=8))


def test_a_budget_is_filled_anew_by_whatever_changes() -> None:
    budget = parse_budget("20GiB")
    state = ResultState(SIZED, Settings(budget=budget, way="8bit", no_embeddings=True))
    assert (state.memory.way, state.memory.card) == ("8bit", budget)
    changes: tuple[Callable[[], None], ...] = (
        lambda: state.pin([0, 1, 2]),
        lambda: state.ban([8]),
        lambda: state.move_first_block(2),
        lambda: state.move_types([int(SIZED.scores.type_ids[20])], 1),
    )
    for change in changes:
        change()
        policy = state.choice.policy
        assert policy == filled(policy, state.choice.selection, Tiers())
        total = state.memory.estimate(state.choice, state.memory.training).total
        assert total <= 20 * 2**30
    while state.undo():
        pass
    assert state.choice.policy == state.of(SIZED).choice.policy


def test_the_card_and_the_way_are_undone_too() -> None:
    state = ResultState(SIZED, Settings(top_percent=25))
    state.memory.train("qlora gpus=2", Tiers())
    state.memory.card = parse_budget("24GiB")
    state.train_as_set()
    assert state.undo() == "trained by qlora gpus=2, card 24GiB"
    assert (state.memory.training, state.memory.card) == (Training(), None)
    assert state.redo() == "trained by qlora gpus=2, card 24GiB"
    assert (state.memory.way, state.memory.card) == ("qlora gpus=2", parse_budget("24GiB"))
    assert not state.redo()


def test_other_tiers_are_no_step_of_their_own() -> None:
    state = ResultState(SIZED, Settings(top_percent=25))
    state.choice = replace(state.choice, tiers=Tiers(high_rank=64))
    assert not state.undo()
