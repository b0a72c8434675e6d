"""What a method trains: as many layers and parameters of each type by chance as by the scores."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_tui.core.errors import RecipeError, ResultsError, SelectionError
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.probing.as_metrics import with_probed
from spectrum_tui.core.probing.records import Probed
from spectrum_tui.core.proof.draw import chosen, drawn
from spectrum_tui.core.proof.methods import SELECTIONS, Method, parse_method
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.policy_line import read_policy
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.results.policy import Policy, policy_of
from spectrum_tui.core.results.results import EmbeddingParameter, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings
from tests import made

HEADS = {head.name for head in made.HEAD}


def of(text: str, selection: Selection, seed: int = 0, *, embeddings: bool = True) -> set[str]:
    return set(chosen(parse_method(text), selection, seed, embeddings=embeddings))


def tally(result: Result, names: set[str]) -> Counter[tuple[str, int]]:
    """How many layers of each (type, size) train."""
    scores = result.scores
    return Counter(
        (scores.type_names[scores.type_ids[row]], int(scores.numel[row]))
        for row, own in enumerate(scores.parameters)
        if own[0] in names
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Results with ties, layers without a score, and types of layers of different sizes."""
    layers, types = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    rows = st.integers(0, layers * types - 1)
    failed = draw(st.dictionaries(rows, st.just("not finite"), max_size=4))
    snr = draw(st.dictionaries(rows, st.sampled_from([0.5, 1.0, np.inf, np.nan]), max_size=8))
    result = made.result(layers=layers, types=types, failed=failed, snr=snr, norms=True, bias=True)
    for row in draw(st.sets(rows, max_size=6)):
        result.scores.numel[row] *= 2
    return result


@settings(max_examples=60, deadline=None)
@given(results(), st.floats(0.1, 100), st.integers(0, 2**40), st.booleans())
def test_chance_takes_as_much_of_each_type_as_the_scores(
    result: Result, percent: float, seed: int, embeddings: bool
) -> None:
    selection = Selection(result)
    try:
        top = of(f"top:{percent:.1f}", selection, embeddings=embeddings)
    except SelectionError:
        return
    by_chance = of(f"random:{percent:.1f}", selection, seed, embeddings=embeddings)
    low = of(f"bottom:{percent:.1f}", selection, embeddings=embeddings)
    assert tally(result, by_chance) == tally(result, top)
    assert len(by_chance) == len(top) == len(low)
    assert by_chance & HEADS == low & HEADS == top & HEADS == (HEADS if embeddings else set())
    unscored = {
        name for row in np.flatnonzero(np.isnan(result.scores.values))
        for name in result.scores.parameters[row]
    }  # fmt: skip
    assert not unscored & (by_chance | low | top)


@settings(max_examples=30, deadline=None)
@given(results(), st.integers(1, 100))
def test_the_lowest_are_no_better_than_what_is_left(result: Result, percent: int) -> None:
    selection, scores = Selection(result), result.scores
    try:
        low = of(f"bottom:{percent}", selection, embeddings=False)
    except SelectionError:
        return
    taken = np.array([names[0] in low for names in scores.parameters])
    for kind in range(len(scores.type_names)):
        rows = (scores.type_ids == kind) & ~np.isnan(scores.values)
        if (rows & taken).any() and (rows & ~taken).any():
            assert scores.values[rows & taken].max() <= scores.values[rows & ~taken].min()


def test_a_seed_draws_the_same_on_every_machine() -> None:
    selection = Selection(made.result(layers=8, types=1, embeddings=False))
    blocks = [
        sorted(int(name.split(".")[2]) for name in of("random:50", selection, seed))
        for seed in (0, 1, 2)
    ]
    assert blocks == [[1, 2, 3, 4], [0, 1, 2, 4], [0, 2, 6, 7]]


def test_every_layer_is_drawn_as_often() -> None:
    selection = Selection(made.result(layers=8, types=1, embeddings=False))
    drawn_layers = Counter(n for seed in range(800) for n in of("random:25", selection, seed))
    # 200 each are expected; the standard deviation is sqrt(800 · 1/4 · 3/4) = 12
    assert len(drawn_layers) == 8 and all(abs(n - 200) < 50 for n in drawn_layers.values())


def test_types_of_equal_size_are_drawn_independently() -> None:
    selection = Selection(made.result(layers=12, types=3, embeddings=False))
    by_type: dict[str, set[str]] = {}
    for name in of("random:25", selection):
        by_type.setdefault(name.split(".", 3)[3], set()).add(name.split(".")[2])
    assert len(set(map(frozenset, by_type.values()))) == 3


def test_the_best_are_those_of_the_recipe() -> None:
    result = made.with_metrics(made.result(norms=True))
    selection = Selection(result)
    assert of("top:25", selection) == set(named(selection, Policy(percent=25)))
    other = Selection(result.with_metric("stable_rank"))
    assert of("metric:stable_rank:25", selection) == set(named(other, Policy(percent=25)))
    assert of("metric:stable_rank:25", selection) != of("top:25", selection)
    assert chosen(Method(kind="full"), selection, 0) == ()


def test_a_policy_is_that_of_its_recipe_but_for_the_embeddings(tmp_path: Path) -> None:
    selection = Selection(made.with_metrics(made.result()))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("# policy: --top-percent 10 --metric stable_rank --blocks 4- --budget 2B\n")
    names = of(f"policy:{recipe}", selection, embeddings=False)
    by_rank = Selection(selection.result.with_metric("stable_rank"))
    policy = filled(policy_of(Settings(**read_policy(recipe))), by_rank, Tiers())
    assert names == set(named(by_rank, policy)) - HEADS
    assert names and all(int(name.split(".")[2]) >= 4 for name in names)
    assert of(f"policy:{recipe}", selection) == names | HEADS


def test_what_these_scores_do_not_allow_is_said(tmp_path: Path) -> None:
    selection = Selection(made.result(layers=4, types=2))
    with pytest.raises(SelectionError, match=r"top:10 trains no layer\. .* is 25 %") as caught:
        of("top:10", selection)
    assert caught.value.field == "methods"
    with pytest.raises(ResultsError):
        of("metric:calibrated:25", selection)
    with pytest.raises(RecipeError):
        of(f"policy:{tmp_path / 'missing.yaml'}", selection)


@pytest.mark.parametrize(
    ("method", "kind", "percent"),
    [("lora", "peft-lora", 100), ("qlora:25", "peft-lora", 25), ("hybrid:25", "peft-hybrid", 25)],
)
def test_adapters_are_those_of_the_recipe(method: str, kind: str, percent: float) -> None:
    selection = Selection(made.with_parameters(made.result()))
    row = drawn(parse_method(method), selection, seed=1, rate=5e-4, steps=8)
    files = kind_named(kind).files(Choice(selection=selection, policy=Policy(percent=percent)))
    assert [text for _, text in row.files] == [file.text for file in files]
    assert [name for name, _ in row.files] == ["recipe.json", "recipe.py"]
    assert (row.method, row.names, row.trial) == (parse_method(method).text, (), False)
    modules = json.loads(row.files[0][1])["target_modules"]
    assert len(modules) == (84 if percent == 100 else 21) or kind == "peft-hybrid"


def test_every_kind_of_selection_takes_layers_of_its_own() -> None:
    selection = Selection(made.result())
    by_percent = [kind for kind in SELECTIONS if kind not in ("metric", "policy")]
    taken = [frozenset(of(f"{kind}:25", selection)) for kind in by_percent]
    assert len(set(taken)) == len(by_percent)


@pytest.mark.parametrize("method", ["top:25", "random:25", "bottom:25"])
def test_a_head_of_another_task_is_left_out(method: str) -> None:
    plain = made.result()
    pooler = EmbeddingParameter("pooler.dense.weight", 64, task=True)
    with_head = Selection(replace(plain, embeddings=(*plain.embeddings, pooler)))
    assert of(method, with_head) == of(method, Selection(plain)) > HEADS


def test_the_best_by_gradient_are_those_that_a_probe_found() -> None:
    """The probe's order is the opposite of the SNR's, type by type."""
    result = made.result(model="made/llama")
    values: tuple[dict[str, tuple[float, ...]], ...] = tuple(
        {"gradient": (-float(score),)} for score in result.scores.values
    )
    selection = Selection(with_probed(result, Probed(values=values), "a text"))
    best = of("metric:gradient:25", selection)
    assert best == of("bottom:25", selection) and best != of("top:25", selection)
    row = drawn(parse_method("metric:gradient:25"), selection, seed=0, rate=1e-4, steps=8)
    assert set(row.names) == best and row.method == "metric:gradient:25"
    with pytest.raises(ResultsError, match="hold no gradient"):
        of("metric:gradient:25", Selection(result))
