"""A verdict claims what the seeds allow: equal methods seldom differ, a planted difference does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from spectrum_tui.core.proof.comparing import compared, pairs
from spectrum_tui.core.proof.proof import Verdict
from spectrum_tui.core.proof.rows import Losses, Outcome
from spectrum_tui.core.proof.statistics import spread_of
from spectrum_tui.core.proof.summary import summaries
from spectrum_tui.core.proof.verdict import against, loss_text, verdict
from tests.unit.proof.proofs import outcomes

METHODS = ("full", "top:25", "random:25", "bottom:25", "metric:calibrated:25", "lora:100")


def judged(rows: Sequence[Outcome]) -> Verdict:
    return verdict(summaries(rows, tuple(dict.fromkeys(row.method for row in rows))))


def judge(
    losses: Mapping[str, Sequence[float]], kept: Mapping[str, Sequence[float]] | None = None
) -> Verdict:
    return judged(outcomes(losses, kept))


def simulated(rng: np.random.Generator) -> list[dict[str, list[float]]]:
    """The held-out and the kept losses of six equal methods with three seeds: the order of the
    data moves all methods alike."""
    each = rng.normal(2.7, 0.01, (2, 6, 3)) + rng.normal(0, 0.02, (2, 1, 3))
    return [dict(zip(METHODS, losses, strict=True)) for losses in each.tolist()]


def test_equal_methods_seldom_differ() -> None:
    rng = np.random.default_rng(13)
    verdicts = [judge(*simulated(rng)) for _ in range(20)]
    assert {len(one.comparisons) for one in verdicts} == {10}
    claims = [any(c.found for c in one.comparisons) for one in verdicts]
    assert sum(claims) <= 2
    said = [" ".join(one.lines) for one in verdicts]
    assert claims == [any(word in text for word in CLAIMS) for text in said]


CLAIMS = ("learned more", "learned less", "forgot more", "forgot less", "is lower", "is higher")


def test_in_the_long_run_equal_methods_differ_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(31)
    plain = summaries(outcomes(*simulated(rng)), METHODS)
    claims = 0
    for _ in range(500):
        held_out, kept = (
            {name: dict(enumerate(losses)) for name, losses in text.items()}
            for text in simulated(rng)
        )
        found = [replace(s, held_out=held_out[s.method], kept=kept[s.method]) for s in plain]
        claims += any(one.found for one in compared(pairs(found)))
    # 5 % at the most, and not never: of 500 repeats 25, 15 more three standard deviations
    assert 3 <= claims <= 40


GRADIENT = [2.780, 2.760, 2.770]
CHANCE = [2.8085, 2.789, 2.798]


def test_a_planted_difference_is_found_and_said() -> None:
    found = judge({"metric:calibrated:25": GRADIENT, "random:25": CHANCE})
    assert found.best == "metric:calibrated:25"
    assert found.lines[:2] == (
        "A difference was found in 1 of 1 comparison over 3 seeds.",
        "metric:calibrated:25 learned more than random:25: 2.77 ± 0.01 against 2.80 ± 0.01 "
        "(p < 0.001).",
    )
    (one,) = found.comparisons
    assert one.difference == pytest.approx(-0.0285) and one.seeds == 3 and one.text == "held_out"


def test_no_difference_says_what_would_not_be_seen() -> None:
    found = judge({"top:25": [2.67, 2.68, 2.66], "random:25": [2.65, 2.66, 2.68]})
    assert found.lines[:2] == (
        "No difference was found (1 comparison over 3 seeds).",
        "5 seeds would find differences 2 times smaller.",  # 2.776/√5 of 4.303/√3
    )
    assert found.lines[2] == (
        "No difference found between top:25 and random:25: 2.67 ± 0.01 against 2.66 ± 0.02 "
        "(less than 0.057 would not be seen)."
    )
    (one,) = found.comparisons
    # t of 5 % at 2 degrees times the standard error
    assert one.least == pytest.approx(4.30265 * one.spread / math.sqrt(3), rel=1e-4)


def test_what_is_forgotten_is_weighed_too() -> None:
    text = judge(
        {"top:25": GRADIENT, "random:25": CHANCE},
        {"top:25": [3.71, 3.72, 3.73], "random:25": [3.81, 3.82, 3.8299]},
    ).lines
    assert "learned more" in text[1]
    assert "It forgot less: 3.72 ± 0.01 against 3.82 ± 0.01 (p < 0.001)." in text[1]
    assert "The loss on the kept text rose most for random:25: by 0.126." in text
    text = judge(
        {"top:25": GRADIENT, "random:25": CHANCE},
        {"top:25": [3.61, 3.62, 3.63], "random:25": [3.61, 3.63, 3.62]},
    ).lines
    assert "On the kept text no difference was found: 3.62 ± 0.01 against" in text[1]
    assert "The loss on the kept text rose for no method: nothing was forgotten." in text


def test_the_best_is_held_against_full_with_what_it_costs() -> None:
    found = judge({
        "full": [2.70, 2.71, 2.69], "top:25": [2.71, 2.70, 2.72], "random:25": [2.74, 2.70, 2.76],
    })  # fmt: skip
    line = next(line for line in found.lines if "between top:25 and full" in line)
    assert line.endswith(
        "It takes 25 % of the parameters, 50 % of the memory and 62 % of the time of full."
    )
    pairs = [(one.one, one.other) for one in found.comparisons]
    assert pairs == [("top:25", "random:25"), ("top:25", "full")]


def test_the_best_of_many_is_no_find_because_it_is_the_best() -> None:
    alone = judge({"full": CHANCE, "lora": GRADIENT}).comparisons[0]
    others = {f"lora:{p}": [3.0 + p / 100, 3.1, 3.2] for p in (10, 20, 30)}
    among = judge({"full": CHANCE, "lora": GRADIENT, **others}).comparisons[0]
    assert among.one == "lora"
    assert among.p == pytest.approx(4 * alone.p)


def test_the_best_layers_are_held_against_the_worst_of_the_same_percentage() -> None:
    found = judge({
        "top:25": [1.0, 2.0], "bottom:25": [1.1, 2.2], "bottom:10": [1.1, 2.2],
        "top:50": [1.0, 2.1], "random:25": [1.0, 2.3],
    })  # fmt: skip
    assert [(one.one, one.other) for one in found.comparisons] == [
        ("top:25", "random:25"), ("bottom:25", "random:25"), ("top:25", "bottom:25"),
    ]  # fmt: skip
    assert any("No random 50 % was trained" in line for line in found.lines)
    assert any("Add random:10." in line for line in found.lines)


def test_a_policy_is_held_against_the_random_row_of_nearly_its_size() -> None:
    rows = [
        replace(row, trained={"random:10": 100, "random:50": 500, "policy:a.yaml": 450}[row.method])
        for row in outcomes(
            {"policy:a.yaml": GRADIENT, "random:10": CHANCE, "random:50": CHANCE}
        )
    ]  # fmt: skip
    found = judged(rows)
    assert [one.other for one in found.comparisons] == ["random:50"]
    assert "It trains 0.9 times as many parameters." in found.lines[1]


def test_one_seed_claims_nothing() -> None:
    found = judge({"top:25": [1.0], "random:25": [9.0], "full": [5.0]})
    assert found.comparisons == () and found.best == "top:25"
    assert found.lines[0] == "Only one seed was trained, so no difference can be claimed."


def test_seeds_that_change_nothing_claim_nothing() -> None:
    found = judge({"top:25": [1.0, 1.0, 1.0], "full": [5.0, 5.0, 5.0]})
    assert found.comparisons == () and "nothing was repeated" in found.lines[0]


def test_what_did_not_run_is_said_and_not_compared() -> None:
    rows = [
        *outcomes({"top:25": GRADIENT, "random:25": [*CHANCE[:2], math.nan]}),
        Outcome(method="full", seed=0, rate=5e-5, steps=8, trial=True, error="out of memory",
                hint="qlora would fit."),
    ]  # fmt: skip
    found = judged(rows)
    assert "full: 1 row without a result: out of memory. qlora would fit." in found.lines
    sentence = replace(rows[-1], error="There is no device 'cuda' here.", hint="Give cpu.")
    said = "full: 1 row without a result: There is no device 'cuda' here. Give cpu."
    assert said in judged([*rows[:-1], sentence]).lines
    assert any(
        "random:25: 1 row without a result: the loss is no number any more" in x
        for x in found.lines
    )
    assert [one.seeds for one in found.comparisons] == [2]
    nothing = judged(rows[-1:])
    assert nothing.lines[0] == "No row came to an end, so nothing can be said."
    assert nothing.best == ""


def test_who_did_not_learn_is_said() -> None:
    lines = judge({"full": [3.2, 3.3, 3.4], "random:25": CHANCE}).lines
    assert "full did not learn: 3.16 before, 3.30 ± 0.10 after." in lines
    assert "No method lowered" in " ".join(judge({"full": [3.2, 3.3]}).lines)


def test_a_claim_is_written_so_that_it_can_be_seen() -> None:
    shifted = {"top:25": [2.7, 2.8, 2.9], "random:25": [2.7021, 2.80205, 2.902]}
    assert "2.800 ± 0.100 against 2.802 ± 0.100" in judge(shifted).lines[1]


def test_losses_are_written_as_exactly_as_their_spread_allows() -> None:
    assert loss_text(spread_of([2.66, 2.68])) == "2.67 ± 0.01"
    assert loss_text(spread_of([2.671, 2.673])) == "2.672 ± 0.001"
    assert loss_text(spread_of([2.671])) == "2.671" and loss_text(spread_of([])) == "–"
    one, other = spread_of([2.66, 2.68]), spread_of([2.7001, 2.7003])
    assert against(one, other) == "2.6700 ± 0.0141 against 2.7002 ± 0.0001"


def test_diverged_kept_losses_are_left_out() -> None:
    rows = list(outcomes({"full": GRADIENT, "lora": CHANCE}, {"full": CHANCE, "lora": CHANCE}))
    rows[0] = replace(rows[0], after=Losses(held_out=2.78, kept=math.nan))
    found = judged(rows)
    assert {one.text: one.seeds for one in found.comparisons} == {"held_out": 3, "kept": 2}
