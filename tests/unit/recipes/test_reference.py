"""The reference YAML: what spectrum.py writes from the same scores, byte for byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.reference import reference_text
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Parameter, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made

INF = math.inf
Rows = list[tuple[str, str, float]]


def as_the_script_writes(rows: Rows, percent: int) -> str:
    """The rule of spectrum.py's `generate_unfrozen_params_yaml`, typed again."""
    by_type: dict[str, list[tuple[str, float]]] = {}
    for layer, kind, snr in rows:
        by_type.setdefault(kind, []).append((layer, snr))
    text = "unfrozen_parameters:\n- ^lm_head.weight$\n- ^model.embed_tokens.weight$\n"
    for kind, layers in by_type.items():
        text += f"# {kind} layers\n"
        best = sorted(layers, key=lambda pair: pair[1], reverse=True)
        for layer, _ in best[: int(len(layers) * percent / 100)]:
            text += f"- {layer}\n"
    return text


def attention_and_mlp() -> Iterator[tuple[str, str, float]]:
    """Infinity for more layers than are selected, as k and v have it in a GQA model."""
    rng = np.random.default_rng(3)
    for kind, infinite in (("self_attn.v_proj", 14), ("mlp.down_proj", 2), ("mlp.up_proj", 0)):
        for i in range(28):
            snr = INF if i % 28 in range(5, 5 + infinite) else float(rng.lognormal())
            yield f"model.layers.{i}.{kind}", kind, snr


def before_2025() -> Iterator[tuple[str, str, float]]:
    """Norms at Infinity, a type of one layer, layers of all types in turn."""
    yield "model.embed_tokens", "model.embed_tokens", 0.4
    for i in range(17):
        yield f"model.layers.{i}.mlp.gate", "mlp.gate", round(i * 7 % 17 / 3, 1)
        yield f"model.layers.{i}.input_layernorm", "input_layernorm", INF
    yield "lm_head", "lm_head", 253.33
    yield "model.norm", "model.norm", INF


def experts() -> Iterator[tuple[str, str, float]]:
    """A type for each expert, the first layer dense; dead ones at 1e25."""
    for kind in ("mlp.down_proj", "mlp.gate_proj"):
        yield f"model.layers.0.{kind}", kind, 0.2
    for expert in range(3):
        for i in range(1, 60):
            kind = f"mlp.experts.{expert}.down_proj"
            yield f"model.layers.{i}.{kind}", kind, 4.5e25 if i % 9 == 2 else i * 13 % 7 / 8


def all_alike() -> Iterator[tuple[str, str, float]]:
    for i in range(40):
        yield f"model.layers.{i}.post_attention_layernorm", "post_attention_layernorm", 1.0


SHAPES = [attention_and_mlp, before_2025, experts, all_alike]


def flat(rows: Rows) -> str:
    return json.dumps({layer: {"snr": snr, "type": kind} for layer, kind, snr in rows}, indent=4)


def in_types(rows: Rows) -> str:
    types: dict[str, dict[str, float]] = {}
    for layer, kind, snr in rows:
        types.setdefault(kind, {})[layer] = snr
    return json.dumps(types)


@pytest.mark.parametrize("schema", [flat, in_types])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_percentage_is_what_the_script_writes(
    shape: Callable[[], Iterable[tuple[str, str, float]]],
    schema: Callable[[Rows], str],
    tmp_path: Path,
) -> None:
    rows = list(shape())
    path = tmp_path / "snr_results_a-b.json"
    path.write_text(schema(rows))
    if schema is in_types:  # the script cannot read this one; the same rows in its own form
        rows.sort(key=lambda row: [kind for _, kind, _ in shape()].index(row[1]))
    selection = Selection(load_result(path))
    for percent in range(1, 101):
        assert reference_text(selection, Policy(percent=percent)) == as_the_script_writes(
            rows, percent
        ), percent


def test_what_a_scan_saved_gives_the_same_as_its_file(tmp_path: Path) -> None:
    result = made.result(layers=9, norms=True, bias=True, failed={0: "contains NaN"})
    files = save_scores(result, tmp_path)
    data = json.loads(files.scores.read_text())
    rows = [(layer, row["type"], row["snr"]) for layer, row in data.items()]
    assert len(rows) == len(result.scores) - 1
    for percent in range(1, 101):
        assert reference_text(Selection(result), Policy(percent=percent)) == as_the_script_writes(
            rows, percent
        )


def test_a_layer_without_a_score_is_never_selected(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(flat([(f"model.layers.{i}.q", "q", x) for i, x in enumerate((1, math.nan, 3))]))
    text = reference_text(Selection(load_result(path)), Policy(percent=100))
    assert text.splitlines()[3:] == ["# q layers", "- model.layers.2.q", "- model.layers.0.q"]


def choose(result: Result, percent: int, *, embeddings: bool = True) -> str:
    kind = kind_named("spectrum-reference")
    (file,) = kind.files(
        kind.ranked(
            Choice(
                selection=Selection(result), policy=Policy(percent=percent, embeddings=embeddings)
            )
        )
    )
    assert file.ending == f"_reference_{percent}percent.yaml"
    return file.text


def test_the_kind_writes_that_text() -> None:
    result = made.with_parameters(made.result(layers=12))
    assert choose(result, 30) == reference_text(Selection(result), Policy(percent=30))


def test_what_selects_nothing_is_refused_though_the_script_writes_it() -> None:
    with pytest.raises(SelectionError, match="5 % selects no layer"):
        choose(made.result(layers=10), 5)


def test_layers_are_of_the_scripts_types_whatever_they_are_ranked_in_here() -> None:
    """Two stages of two blocks each: the script has block 0 of both compete, and block 1."""
    names = {i: f"m.layers.{i // 2}.blocks.{i % 2}.q" for i in range(4)}
    plain = made.result(layers=4, types=1, names=names, snr={0: 4.0, 1: 1.0, 2: 3.0, 3: 2.0})
    staged = replace(
        plain.scores,
        type_names=["layers.0.blocks.*.q", "layers.1.blocks.*.q"],
        type_ids=np.repeat([0, 1], 2),
    )
    text = choose(replace(plain, scores=staged), 50)
    assert text.splitlines()[3:] == [
        "# blocks.0.q layers",
        "- m.layers.0.blocks.0.q",
        "# blocks.1.q layers",
        "- m.layers.1.blocks.1.q",
    ]


def test_embeddings_switched_off_are_refused() -> None:
    with pytest.raises(SelectionError, match=r"spectrum\.py always trains embeddings"):
        choose(made.result(), 50, embeddings=False)
    assert choose(made.result(embeddings=False), 50, embeddings=False)


def test_names_that_match_a_sibling_are_refused() -> None:
    names = {row: f"model.layers.{row}.mlp.gate" for row in range(4)}
    plain = made.result(layers=4, types=1, snr={0: 9.0}, names=names)
    known = made.with_parameters(plain)
    sibling = Parameter("model.layers.0.mlp.gate_proj.weight", (4, 4), "linear")
    result = replace(known, parameters=(*known.parameters, sibling))
    with pytest.raises(SelectionError, match=r"mlp\.gate would also unfreeze .*mlp\.gate_proj"):
        choose(result, 25)
    assert "- model.layers.0.mlp.gate\n" in choose(known, 25)
