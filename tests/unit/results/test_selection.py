"""What a percentage selects and counts: the reference tool's rule, and a plain sum."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import (
    EmbeddingParameter,
    MetricColumn,
    Provenance,
    Result,
    Scores,
)
from spectrum_tui.core.results.selection import NEVER, Selection, Totals
from spectrum_tui.core.settings import METRIC
from tests import made, oracle

Row = tuple[str, str, float]
"""(layer, type, snr)."""


def result(
    rows: Iterable[Row],
    *,
    numel: dict[str, int] | None = None,
    bias: Iterable[str] = (),
    embeddings: tuple[EmbeddingParameter, ...] = (),
    failed: Iterable[str] = (),
    total: int = 0,
) -> Result:
    rows = list(rows)
    layers = [row[0] for row in rows]
    types = list(dict.fromkeys(row[1] for row in rows))
    sizes = numel or {}
    with_bias = set(bias)
    scores = Scores(
        layers=layers,
        type_names=types,
        type_ids=np.array([types.index(row[1]) for row in rows], np.int64),
        rows=np.ones(len(rows), np.int64),
        columns=np.ones(len(rows), np.int64),
        numel=np.array([sizes.get(layer, 0) for layer in layers], np.int64),
        parameters=[
            (f"{x}.weight", f"{x}.bias") if x in with_bias else (f"{x}.weight",) for x in layers
        ],
        metrics={METRIC: MetricColumn(np.array([row[2] for row in rows], np.float64))},
        problems={layers.index(x): "is all zero" for x in failed},
    )
    return Result(
        scores=scores,
        embeddings=embeddings,
        provenance=Provenance(model="m"),
        total_parameters=total,
        planned=len(rows),
    )


def random_rows(rng: random.Random, *, special: bool) -> list[Row]:
    """Types of 1 to 40 layers in mixed order, with ties and, if `special`, Infinity."""
    rows: list[Row] = []
    for t in range(rng.randrange(1, 6)):
        values = [rng.choice([0.5, 1.0, 1e25, rng.random()]) for _ in range(rng.randrange(1, 41))]
        if special:
            values = [math.inf if rng.random() < 0.2 else value for value in values]
        rows += [(f"model.layers.{i}.t{t}", f"t{t}", value) for i, value in enumerate(values)]
    rng.shuffle(rows)
    return rows


def by_reference(rows: list[Row], percent: int) -> set[str]:
    types: dict[str, dict[str, float]] = {}
    for layer, kind, snr in rows:
        types.setdefault(kind, {})[layer] = snr
    return {layer for scores in types.values() for layer in oracle.selected(scores, percent)}


def by_program(selection: Selection, percent: int) -> set[str]:
    layers = selection.result.scores.layers
    return {layers[i] for i in np.flatnonzero(selection.mask(Policy(percent=percent)))}


@pytest.mark.parametrize("special", [False, True], ids=["finite", "infinity"])
@pytest.mark.parametrize("seed", range(25))
def test_every_percentage_selects_what_the_reference_selects(seed: int, special: bool) -> None:
    rows = random_rows(random.Random(seed), special=special)
    selection = Selection(result(rows))
    for percent in range(1, 101):
        assert by_program(selection, percent) == by_reference(rows, percent), percent


@pytest.mark.parametrize("n", [*range(1, 130), 997, 1000])
def test_every_percentage_of_every_count(n: int) -> None:
    """The count is int(n * P / 100), rounding of floating point included."""
    rows = [(f"l{i}", "t", float(n - i)) for i in range(n)]
    selection = Selection(result(rows))
    for percent in range(1, 101):
        assert int(selection.mask(Policy(percent=percent)).sum()) == int(n * percent / 100)


@pytest.mark.parametrize("seed", range(15))
def test_nan_is_never_selected_and_the_rest_as_if_it_came_last(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        (layer, kind, math.nan if rng.random() < 0.3 else snr)
        for layer, kind, snr in random_rows(rng, special=True)
    ]
    as_last = [(layer, t, -math.inf if math.isnan(snr) else snr) for layer, t, snr in rows]
    nan = {layer for layer, _, snr in rows if math.isnan(snr)}
    selection = Selection(result(rows))
    for percent in range(1, 101):
        got = by_program(selection, percent)
        assert not got & nan
        assert got == by_reference(as_last, percent) - nan


def test_failed_layers_are_not_counted() -> None:
    rows: list[Row] = [(f"l{i}", "t", float(i)) for i in range(10)]
    failed = {"l2", "l5"}
    scored = [row for row in rows if row[0] not in failed]
    rows = [(layer, t, math.nan if layer in failed else snr) for layer, t, snr in rows]
    selection = Selection(result(rows, failed=sorted(failed)))
    assert selection.counts.tolist() == [8]
    for percent in range(1, 101):
        assert by_program(selection, percent) == by_reference(scored, percent)


def test_a_type_where_all_failed_does_not_disturb_the_others() -> None:
    rows: list[Row] = [("a", "t", math.nan), ("b", "u", 1.0), ("c", "u", 2.0)]
    selection = Selection(result(rows, failed=["a"]))
    assert by_program(selection, 50) == {"c"}
    assert by_program(selection, 100) == {"b", "c"}
    assert selection.rank.tolist() == [0, 2, 1]
    assert selection.shape(Policy()).threshold[0] == NEVER


def test_one_layer_types_are_selected_at_hundred_only() -> None:
    selection = Selection(result([("lm_head", "lm_head", 3.0), ("x", "x", math.inf)]))
    assert not selection.mask(Policy(percent=99)).any()
    assert selection.mask(Policy(percent=100)).all()
    assert selection.smallest_percent(Policy()) == 100


def in_types(sizes: list[int], embeddings: tuple[EmbeddingParameter, ...] = ()) -> Selection:
    """Types of these many layers each, called t0, t1 and so on."""
    whole = made.result(layers=sum(sizes), types=1, embeddings=False)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    names = [f"t{i}" for i in range(len(sizes))]
    scores = replace(whole.scores, type_names=names, type_ids=ids)
    return Selection(replace(whole, scores=scores, embeddings=embeddings))


@pytest.mark.parametrize(
    ("sizes", "percent", "expected"),
    [
        ([12, *[1] * 14], 50, "14 types have one layer: none below 100 %"),
        ([12, *[1] * 14], 100, ""),
        ([12, 1], 9, "1 type has one layer: none below 100 %"),
        ([12, 3, 3], 33, "2 types have 3 layers: none below 34 %"),
        ([12, 3, 3], 34, ""),
        ([12, 3, 1], 20, "2 types have at most 3 layers: none below 34 %"),
        ([12, 3, 1], 40, "1 type has one layer: none below 100 %"),
        ([12, 12], 5, ""),  # nothing at all is selected, which is said elsewhere
    ],
)
def test_types_too_small_for_a_percentage_are_counted(
    sizes: list[int], percent: int, expected: str
) -> None:
    selection = in_types(sizes)
    assert selection.too_small(Policy(percent=percent)) == expected
    chosen = selection.result.scores.type_ids[selection.mask(Policy(percent=percent))]
    assert bool(expected) == (0 < len(set(chosen.tolist())) < len(sizes))


def test_a_type_of_norms_is_none_too_small() -> None:
    selection = in_types([12, 1])
    scores = replace(selection.result.scores, type_names=["t", "model.norm"])
    assert Selection(replace(selection.result, scores=scores)).too_small(Policy(percent=50)) == ""


def test_what_trains_with_the_head_is_no_type_too_small() -> None:
    layers = in_types([12, 1]).result.scores.parameters
    assert (
        in_types([12, 1], (EmbeddingParameter(layers[12][0], 4),)).too_small(Policy(percent=50))
        == ""
    )


def test_ties_go_by_file_order_and_ranks_count_from_one() -> None:
    rows = [(f"l{i}", "t", 1.0) for i in range(4)] + [("l4", "t", 2.0), ("l5", "t", math.nan)]
    selection = Selection(result(rows))
    assert selection.rank.tolist() == [2, 3, 4, 5, 1, 0]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 99, 100, 101, 250])
def test_smallest_percent(n: int) -> None:
    selection = Selection(result([(f"l{i}", "t", float(i)) for i in range(n)]))
    step = next(step for step in range(1, 1001) if n * step // 1000)
    assert selection.smallest_percent(Policy()) == step / 10
    assert selection.mask(Policy(percent=step / 10)).any()
    assert not selection.mask(Policy(percent=(step - 1) / 10)).any()


def test_nothing_to_select() -> None:
    for rows in ([], [("a", "t", math.nan)]):
        selection = Selection(result(rows))
        assert selection.smallest_percent(Policy()) == NEVER
        assert not selection.mask(Policy(percent=100)).any()
        assert selection.totals(Policy(percent=100)) == Totals(0, 0, 0.0)


EMBED, HEAD = "model.embed_tokens", "lm_head"


def sized(*, tied: bool, seed: int = 1) -> tuple[Result, dict[str, int]]:
    """A result with biases, its head scanned too; and {parameter: elements} of the model."""
    rng = random.Random(seed)
    rows: list[Row] = [
        (f"model.layers.{i}.{t}", t, rng.random()) for t in ("q", "up", "down") for i in range(9)
    ]
    ends = [EMBED] if tied else [EMBED, HEAD]
    rows += [(name, name, rng.random()) for name in ends]
    parameters: dict[str, int] = {}
    numel: dict[str, int] = {}
    for layer, kind, _ in rows:
        parameters[f"{layer}.weight"] = rng.randrange(10, 10_000)
        if kind == "q":
            parameters[f"{layer}.bias"] = rng.randrange(1, 10)
        numel[layer] = sum(parameters.get(f"{layer}.{e}", 0) for e in ("weight", "bias"))
    parameters["model.norm.weight"] = 77  # never scored, still of the model
    embeddings = tuple(
        EmbeddingParameter(
            f"{name}.weight", parameters[f"{name}.weight"], ("lm_head.weight",) if tied else ()
        )
        for name in ends
    )
    made = result(
        rows,
        numel=numel,
        bias=[r[0] for r in rows if r[1] == "q"],
        embeddings=embeddings,
        total=sum(parameters.values()),
    )
    return made, parameters


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("embeddings", [True, False], ids=["with head", "without"])
def test_totals_are_the_sum_over_what_trains(embeddings: bool, tied: bool) -> None:
    made, parameters = sized(tied=tied)
    selection = Selection(made)
    scores = made.scores
    in_embeddings = {h.name for h in made.embeddings}
    for percent in range(101):
        rows = np.flatnonzero(selection.mask(Policy(percent=percent)))
        names = {name for i in rows for name in scores.parameters[i]} - in_embeddings
        names |= in_embeddings if embeddings else set()
        trained = sum(parameters[name] for name in names)
        totals = selection.totals(Policy(percent=percent, embeddings=embeddings))
        assert totals.parameters == trained, percent
        assert totals.share == pytest.approx(trained / sum(parameters.values()))


def test_without_the_head_nothing_of_it_trains_even_at_hundred() -> None:
    made, parameters = sized(tied=False)
    whole = sum(parameters.values()) - 77
    ends = sum(h.numel for h in made.embeddings)
    selection = Selection(made)
    assert selection.totals(Policy(percent=100)).parameters == whole
    assert selection.totals(Policy(percent=100, embeddings=False)).parameters == whole - ends


def test_totals_of_the_whole_model_are_its_parameters() -> None:
    made, parameters = sized(tied=True)
    totals = Selection(made).totals(Policy(percent=100))
    assert totals.parameters == sum(parameters.values()) - 77
    assert totals.share < 1


def test_without_sizes_there_is_no_share() -> None:
    embeddings = (EmbeddingParameter("lm_head.weight", 0),)
    totals = Selection(result([("a", "t", 1.0)], embeddings=embeddings)).totals(Policy(percent=100))
    assert totals == Totals(1, 0, 0.0)


def test_layers_of_one_type_need_not_stand_together() -> None:
    rows = [("a0", "a", 1.0), ("b0", "b", 5.0), ("a1", "a", 2.0), ("b1", "b", 4.0)]
    assert by_program(Selection(result(rows)), 50) == {"a1", "b0"}
