"""What earlier scans have scored need be neither read nor computed again."""

from __future__ import annotations

from spectrum_tui.core.model.earlier import Measured, with_earlier
from spectrum_tui.core.requests import Kept, ModelSummary

SUMMARY = ModelSummary(
    model="made",
    origin="folder",
    folder="/made",
    revision="",
    architecture="",
    parameters=0,
    tensors=0,
    shards=1,
    nbytes=0,
    local_bytes=0,
    dtypes={},
    types=(),
)
EXPERTS = tuple(f"1.experts [{number}]" for number in range(3))
LAYERS: tuple[Measured, ...] = (
    ("q_proj", 100, 10.0, ("0.q_proj",)),
    ("q_proj", 300, 90.0, ("1.q_proj",)),
    ("experts", 301, 30.0, tuple(name.replace("1.", "0.") for name in EXPERTS)),
    ("experts", 301, 30.0, EXPERTS),
    ("norm", 0, 0.0, ("0.norm",)),
)


def test_what_is_kept_is_that_of_the_scored_layers_and_not_the_mean_of_their_type() -> None:
    found = with_earlier(SUMMARY, {"1.q_proj": 0.0}, LAYERS)
    assert found.scored == {"q_proj": 1} and not found.scored_fast
    assert found.kept == {"q_proj": Kept(nbytes=300, cost=90.0)}


def test_single_experts_of_a_layer_count_before_the_layer_does() -> None:
    found = with_earlier(SUMMARY, dict.fromkeys(EXPERTS[:2], 0.0), LAYERS)
    assert not found.scored
    assert found.kept == {"experts": Kept(nbytes=200, cost=20.0)}
    found = with_earlier(SUMMARY, dict.fromkeys(EXPERTS, 0.0), LAYERS)
    assert found.scored == {"experts": 1}
    assert found.kept == {"experts": Kept(nbytes=301, cost=30.0)}, "to its last byte"


def test_scores_in_fast_precision_are_told_apart() -> None:
    found = with_earlier(SUMMARY, {"0.q_proj": 0.0, "1.q_proj": 1e-6}, LAYERS)
    assert (found.scored, found.scored_fast) == ({"q_proj": 2}, {"q_proj": 1})
    kept = Kept(nbytes=400, cost=100.0, fast_nbytes=300, fast_cost=90.0)
    assert found.kept == {"q_proj": kept}


def test_without_earlier_scores_nothing_is_kept() -> None:
    found = with_earlier(SUMMARY, {}, LAYERS)
    assert found == SUMMARY
