"""The axolotl fragment: the names, the keys beside them, and ranges for single experts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.axolotl import best, fused_types
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import fused, made


def written(result: Result, percent: int, *, embeddings: bool = True, experts: bool = False) -> str:
    choice = Choice(
        selection=Selection(result),
        policy=Policy(percent=percent, embeddings=embeddings),
        experts=experts,
    )
    (file,) = kind_named("axolotl").files(choice)
    assert file.ending == f"_axolotl_{percent}percent.yaml"
    return file.text


def names_in(text: str) -> list[str]:
    data: dict[str, Any] = yaml.safe_load(text)
    names = data.pop("unfrozen_parameters")
    assert data == {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    return list(names)


def listed(text: str) -> list[str]:
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def test_the_names_are_those_of_the_spectrum_yaml_and_no_other_list_is_there() -> None:
    result = made.with_parameters(made.result(layers=12, bias=True, norms=True))
    for percent, embeddings in ((9, True), (25, False), (100, True)):
        text = written(result, percent, embeddings=embeddings)
        expected = SpectrumYaml(Selection(result)).text(
            Policy(percent=percent, embeddings=embeddings)
        )
        assert names_in(text) == listed(text) == listed(expected)


def test_what_goes_with_it_is_said_in_whole_lines() -> None:
    text = written(made.result(), 50)
    assert "use_orig_params: true" in text
    assert "`adapter:`" in text
    for line in text.splitlines():
        assert line.startswith("#") or "#" not in line
        assert len(line) <= 100
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_a_choice_that_trains_nothing_is_refused() -> None:
    with pytest.raises(SelectionError, match="5 % selects no layer"):
        written(made.result(layers=10), 5)
    with pytest.raises(SelectionError, match="No layer has a score"):
        written(made.result(layers=1, types=1, failed={0: "is all zero"}), 100)


# -- single experts ----------------------------------------------------------------------------


def trained_rows(text: str, result: Result) -> dict[str, set[int]]:
    """Which rows of each parameter train, as axolotl matches names and reads ranges."""
    trained: dict[str, set[int]] = {}
    patterns = names_in(text)
    for parameter in result.parameters:
        for pattern in patterns:
            ranged = re.match(r"^(.+)\[([0-9]*)(?::([0-9]*))?\]$", pattern)
            name = ranged[1] if ranged else pattern
            if not re.match(re.sub(r"\.(?!\+)", r"\\.", name), parameter.name):
                continue
            start, stop = (int(ranged[2]), int(ranged[3])) if ranged else (0, parameter.shape[0])
            assert 0 <= start < stop <= parameter.shape[0]
            trained.setdefault(parameter.name, set()).update(range(start, stop))
    return trained


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("percent", [13, 25, 50, 99, 100])
def test_the_best_experts_of_each_fused_parameter_train(percent: int, bias: bool) -> None:
    result = fused.result(layers=4, experts=8, bias=bias)
    selection = Selection(result)
    expected = {h.name: set(range(h.numel // 4096)) for h in result.embeddings}
    sizes = {p.name: p.shape[0] for p in result.parameters}
    for row in np.flatnonzero(selection.mask(Policy(percent=percent))).tolist():
        if row not in result.scores.parts:
            expected |= {n: set(range(sizes[n])) for n in result.scores.parameters[row]}
    for row, parts in result.scores.parts.items():
        values: dict[int, float] = {}
        for label, value in parts:
            expert = int(label.split()[1])
            values[expert] = values.get(expert, 0.0) + value
        order = sorted(values, key=lambda e: -values[e])
        chosen = set(order[: 8 * percent // 100])
        expected |= {name: chosen for name in result.scores.parameters[row] if chosen}
    assert trained_rows(written(result, percent, experts=True), result) == expected


def test_neighbours_are_one_range_and_all_experts_are_no_range() -> None:
    result = fused.result(layers=1, experts=8)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    some = [line for line in listed(written(result, 50, experts=True)) if line.startswith(name)]
    assert some == [f"{name}[1:5]"]
    assert name in listed(written(result, 100, experts=True))
    assert "weight decay" in written(result, 50, experts=True)
    assert "weight decay" not in written(result, 100)


def test_experts_are_chosen_where_no_whole_layer_is() -> None:
    result = fused.result(layers=4, experts=64)
    assert written(result, 24, experts=True)
    with pytest.raises(SelectionError, match="24 % selects no layer of any type"):
        written(result, 24)
    with pytest.raises(SelectionError, match="1 % selects no layer and no expert"):
        written(result, 1, experts=True)


def test_scores_without_experts_are_refused() -> None:
    with pytest.raises(SelectionError, match="hold no single experts"):
        written(made.result(), 50, experts=True)


def test_an_expert_without_a_score_is_never_chosen() -> None:
    values = np.array([1.0, math.nan, 3.0, math.inf, math.nan])
    assert best(values, 100) == ((0, 1), (2, 4))
    assert best(values, 34) == ((3, 4),)
    assert best(values, 33) == ()
    assert best(np.array([2.0, 2.0, 2.0, 2.0]), 50) == ((0, 2),)


def test_a_failed_layer_of_experts_is_left_out() -> None:
    plain = fused.result(layers=2, experts=8)
    row = plain.scores.layers.index("model.layers.1.mlp.experts.down_proj")
    result = replace(plain, scores=replace(plain.scores, problems={row: "contains NaN"}))
    names = listed(written(result, 50, experts=True))
    assert any(name.startswith("model.layers.0.mlp.experts.down_proj[") for name in names)
    assert not any("layers.1.mlp.experts.down_proj" in name for name in names)


def test_a_type_that_is_not_all_experts_by_row_competes_as_a_whole() -> None:
    plain = fused.result(layers=4, experts=8)
    row = plain.scores.layers.index("model.layers.3.mlp.experts.down_proj")
    parts = {r: values for r, values in plain.scores.parts.items() if r != row}
    result = replace(plain, scores=made.ranked(plain.scores, parts=parts))
    assert [kind.name for kind in fused_types(result)] == [fused.GATE_UP]
    wide = tuple(
        replace(p, shape=(9, 64)) if p.name.endswith("gate_up_proj") else p
        for p in result.parameters
    )
    assert fused_types(replace(result, parameters=wide)) == []
    parts = {r: tuple((f"part {i}", v) for i, (_, v) in enumerate(p)) for r, p in parts.items()}
    assert fused_types(replace(result, scores=made.ranked(result.scores, parts=parts))) == []


def test_a_name_that_a_reader_would_misread_is_refused() -> None:
    result = fused.result(layers=1)
    scores = result.scores
    names = [(n[0].replace("gate_up", "a b"), *n[1:]) for n in scores.parameters]
    with pytest.raises(SelectionError, match="cannot be written to this file"):
        written(replace(result, scores=replace(scores, parameters=names)), 50, experts=True)
