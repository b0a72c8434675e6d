"""What the results screen knows, without a screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.policy_values import Budget, parse_budget
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
        assert (state.choice.mask() == state.ranking.selection.mask(Policy(percent=25))).all()
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
    first = ResultState(SIZED, state.settings).choice.policy
    assert state.choice.policy != first
    while state.undo():
        pass
    assert state.choice.policy == first


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


def _chosen(state: ResultState, kind: int) -> int:
    return int(state.choice.mask()[state.result.scores.type_ids == kind].sum())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(top_percent=25, rule="global", metric="calibrated"),
        Settings(top_percent=25, rule="global-rank"),
        Settings(budget=parse_budget("20GiB"), way="8bit", no_embeddings=True),
        Settings(budget=parse_budget("2B"), no_embeddings=True),
        Settings(top_percent=25),
    ],
)
def test_the_percentage_of_a_type_starts_from_the_layers_that_are_selected(
    settings: Settings,
) -> None:
    state = ResultState(made.with_metrics(made.with_parameters(made.result(layers=32))), settings)
    for kind in (1, 4):
        before = _chosen(state, kind)
        for by in (1, -1, -1, 1):
            state.move_types([kind], by)
            before += by
            assert _chosen(state, kind) == before
            assert state.types_text([kind]).endswith(f"%, {before} of 32 layers")
    state.ban(np.flatnonzero(state.result.scores.type_ids == 1).tolist())
    assert state.types_text([1]).endswith("%, 0 of 32 layers")


@pytest.mark.parametrize("budget", [parse_budget("2B"), None])
def test_a_percentage_is_typed_for_a_type_and_given_up(budget: Budget | None) -> None:
    rule = "per-type" if budget else "global-rank"
    settings = Settings(top_percent=25, rule=rule, budget=budget, no_embeddings=True)
    state = ResultState(SIZED, settings)
    before, name = state.choice.policy, SIZED.scores.type_names[2]
    state.give_types({2: 25})
    assert state.choice.policy.type_percents == ((name, 25),)
    assert _chosen(state, 2) == 2
    state.give_types({2: None})
    assert state.choice.policy == before


def test_another_rule_takes_a_budget_and_its_way_away() -> None:
    state = ResultState(
        SIZED, Settings(budget=parse_budget("20GiB"), way="8bit", no_embeddings=True)
    )
    state.next_rule()
    assert state.choice.policy == Policy(embeddings=False)
    assert replace(state.choice.policy, embeddings=True).is_plain


def test_what_a_budget_holds_is_no_change_by_hand() -> None:
    state = ResultState(SIZED, Settings(budget=parse_budget("2B")))
    before = state.choice.policy
    for _ in range(6):
        state.move_types([0], 1)
    assert state.is_unsaved
    assert state.undo().startswith(SIZED.scores.type_names[0])
    assert state.choice.policy == before and not state.is_unsaved
    state.choose(embeddings=False)
    assert state.choice.policy.layers != before.layers
    assert not state.is_unsaved
