"""What no PEFT recipe is made of, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import (
    Parameter,
    Result,
)
from spectrum_tui.core.results.selection import Selection
from tests import made
from tests.unit.recipes.peft_results import KINDS, llama


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_adapt_is_refused(kind: str) -> None:
    with pytest.raises(SelectionError):
        kind_named(kind).files(
            Choice(selection=Selection(llama()), policy=Policy(percent=5), tiers=Tiers(5))
        )
    norms = made.with_parameters(made.result(types=0, norms=True))
    with pytest.raises(SelectionError):
        kind_named(kind).files(Choice(selection=Selection(norms), policy=Policy(percent=100)))


def test_a_hybrid_without_a_medium_tier_is_refused() -> None:
    with pytest.raises(SelectionError, match="which PEFT needs") as refused:
        kind_named("peft-hybrid").files(
            Choice(selection=Selection(llama()), policy=Policy(percent=50), tiers=Tiers(50))
        )
    assert refused.value.field == "medium_percent"


def test_groups_without_similar_neighbours_are_refused() -> None:
    result = llama(types=1, snr={i: 2.0**i for i in range(12)})
    with pytest.raises(SelectionError, match="no two neighbours"):
        kind_named("peft-groups").files(
            Choice(selection=Selection(result), policy=Policy(percent=50))
        )


def with_parameter(result: Result, name: str, shape: tuple[int, ...]) -> Result:
    return replace(result, parameters=(*result.parameters, Parameter(name, shape, "linear")))


def test_a_name_that_peft_would_find_elsewhere_is_refused() -> None:
    twin = with_parameter(llama(), "draft.model.layers.1.mlp.down_proj.weight", (8, 8))
    with pytest.raises(SelectionError, match=r"PEFT would take draft\.model\.layers\.1\."):
        kind_named("peft-lora").files(Choice(selection=Selection(twin), policy=Policy(percent=100)))


def test_modules_that_train_whole_have_no_dot_to_guard_them() -> None:
    twin = with_parameter(llama(), "premodel.layers.1.mlp.down_proj.weight", (8, 8))
    choice = Choice(selection=Selection(twin), policy=Policy(percent=75), tiers=Tiers(100))
    assert kind_named("peft-tiers").files(choice)
    row = twin.scores.layers.index("model.layers.1.mlp.down_proj")
    assert choice.mask()[row]
    with pytest.raises(SelectionError, match="PEFT would take premodel"):
        kind_named("peft-hybrid").files(choice)


def test_a_name_of_another_model_is_refused() -> None:
    result = llama(names={0: "model.layers.0.mlp.no_such"})
    known = tuple(p for p in llama().parameters)
    with pytest.raises(SelectionError, match="not part of the model"):
        kind_named("peft-lora").files(
            Choice(
                selection=Selection(replace(result, parameters=known)), policy=Policy(percent=100)
            )
        )


@pytest.mark.parametrize("name", ["a[/b][red]", 'model.layers.0."x"', "a b", "model.layers.0.x\n"])
def test_names_that_are_patterns_are_refused(name: str) -> None:
    result = made.result(sizes=False, names={0: name})
    with pytest.raises(SelectionError, match="cannot be written to this file"):
        kind_named("peft-lora").files(
            Choice(selection=Selection(result), policy=Policy(percent=100))
        )
