"""What the results screen knows, without a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.core.errors import ResultsError
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
