"""The rows of a proof, and what they are said to take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import preset_named
from spectrum_tui.core.proof.methods import parse_methods
from spectrum_tui.core.proof.plan import (
    Plan,
    found_rates,
    memory_in_all,
    seconds_in_all,
    steps_in_all,
    training_of,
)
from spectrum_tui.core.proof.rates import parse_rates
from spectrum_tui.core.proof.rows import Losses, Outcome
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.peft_kinds import TIERS
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from tests import made
from tests.unit.proof.proofs import CONDITIONS

RESULT = made.with_parameters(made.result())
SELECTION = Selection(RESULT)
SIZES = ModelSizes(RESULT.parameters, RESULT.embeddings)


def plan_of(text: str, rates: str = "", *, seeds: int = 3, steps: int = 200) -> Plan:
    methods = parse_methods(text)
    given = parse_rates(rates, methods) if rates else {}
    return Plan(selection=SELECTION, methods=methods, rates=given, seeds=seeds, steps=steps)


def test_every_method_has_a_row_before_any_has_two() -> None:
    plan = plan_of("full,top:25,random:25", "2e-4,full=2e-5", seeds=2, steps=64)
    rows = plan.rows(plan.rates)
    assert [(row.seed, row.method) for row in rows] == [
        (seed, method) for seed in (0, 1) for method in ("full", "top:25", "random:25")
    ]
    assert {row.rate for row in rows if row.method == "full"} == {2e-5}
    top = [row.names for row in rows if row.method == "top:25"]
    by_chance = [row.names for row in rows if row.method == "random:25"]
    assert top[0] == top[1] and by_chance[0] != by_chance[1]
    assert plan.swept == () and plan.expected() == rows
    assert {row.trial for row in rows} == {False}


def test_a_method_without_a_rate_is_tried_first_and_left_out_where_none_works() -> None:
    plan = plan_of("full,lora", "full=2e-5", seeds=1, steps=64)
    (lora,) = plan.swept
    first = plan.next_trial(lora, [])
    assert first is not None and (first.rate, first.steps, first.trial) == (5e-4, 16, True)
    assert steps_in_all(plan.expected()) == 3 * 16 + 2 * 64
    assert [row.method for row in plan.rows({"full": 2e-5})] == ["full"]
    trials = [
        Outcome(method="lora:100", seed=0, rate=rate, steps=16, trial=True,
                after=Losses(held_out=loss))
        for rate, loss in ((5e-4, 2.0), (1.7e-4, 2.1), (1.5e-3, 2.2))
    ]  # fmt: skip
    assert plan.next_trial(lora, trials) is None
    failed = Outcome(method="full", seed=0, rate=5e-5, steps=16, trial=True, error="killed")
    row = Outcome(method="top:25", seed=0, rate=1e-3, steps=64, after=Losses(held_out=1.0))
    assert found_rates([*trials, failed, row]) == {"lora:100": 5e-4}


def test_time_is_that_of_all_rows_each_at_its_own_cost() -> None:
    plan = plan_of("full,top:25", "2e-4", seeds=3, steps=100)
    rows = plan.rows(plan.rates)
    assert seconds_in_all(rows, 2.0) == 1200
    assert seconds_in_all(rows, 2.0, row_seconds=10, costs={"top:25": 0.5}) == 600 + 300 + 60


@pytest.mark.parametrize(("half", "width"), [(True, 2), (False, 4)])
def test_memory_is_that_of_the_names_that_train(half: bool, width: int) -> None:
    plan = plan_of("full,top:25,random:25,bottom:25,lora,tiers:25,qlora")
    found = memory_in_all(plan, SIZES, training_of(CONDITIONS), half=half)
    total = RESULT.total_parameters
    assert found["full"].trained == total
    assert found["full"].static == 4 * width * total
    assert found["full"].step == 1.0
    trained = SELECTION.totals(Policy(percent=25)).parameters
    for name in ("top:25", "random:25", "bottom:25"):
        assert found[name].trained == trained
        assert found[name].static == width * total + 3 * width * trained
    assert found["lora:100"].static == width * total + 16 * found["lora:100"].trained
    count = TIERS.count(Choice(selection=SELECTION, policy=Policy(percent=25)))
    assert found["tiers:25"].trained == count.adapters
    assert found["tiers:25"].static == width * total + 16 * count.adapters
    assert found["qlora:100"].weights < total


def test_the_estimate_is_of_the_batches_that_are_trained_on() -> None:
    conditions = replace(CONDITIONS, batch=3, sequence=128, checkpointing=True)
    training = training_of(conditions)
    assert (training.batch, training.sequence, training.checkpointing) == (3, 128, True)
    assert training.gpus == 1 and training.preset == preset_named("bf16")
