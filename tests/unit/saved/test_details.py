"""What is kept beside a score file: everything that the file itself does not hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.files import cache_dir, write_kept
from spectrum_tui.core.results.results import Generation, MetricColumn, Parameter, Result
from spectrum_tui.core.saved.details import DETAILS
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made


def same(a: Result, b: Result) -> bool:
    """Everything but where it was read from."""
    x, y = a.scores, b.scores
    arrays = ("type_ids", "rows", "columns", "numel")
    return (
        all(np.array_equal(getattr(x, n), getattr(y, n), equal_nan=True) for n in arrays)
        and (x.layers, x.type_names, x.parameters) == (y.layers, y.type_names, y.parameters)
        and (x.problems, x.metric, a.parameters) == (y.problems, y.metric, b.parameters)
        and (a.embeddings, a.provenance, a.total_parameters)
        == (b.embeddings, b.provenance, b.total_parameters)
        and (a.planned, a.skipped, a.embeddings_are_guessed)
        == (b.planned, b.skipped, b.embeddings_are_guessed)
        and a.checkpoint == b.checkpoint
        and x.metrics.keys() == y.metrics.keys()
        and all(_same_column(x.metrics[name], y.metrics[name]) for name in x.metrics)
    )


def _same_column(a: MetricColumn, b: MetricColumn) -> bool:
    return np.array_equal(a.values, b.values, equal_nan=True) and a.parts == b.parts


@pytest.mark.parametrize(
    "result",
    [
        made.result(),
        made.result(bias=True, norms=True),
        made.result(layers=3, planned=500),
        made.result(failed={0: "is all zero", 5: "holds NaN or Inf"}),
        made.result(snr={1: math.inf, 2: 1e25, 3: 1e-300}),
        made.result(names={0: "a[/b][red]", 1: "ünï\u2028", 2: "x\ny"}),
        made.result(embeddings=False),
    ],
    ids=["plain", "bias", "stopped", "failed", "special", "names", "no head"],
)
def test_round_trip_with_every_detail(result: Result, tmp_path: Path) -> None:
    files = save_scores(result, tmp_path)
    back = load_result(files.scores)
    assert same(back, result)
    assert back.source == str(files.scores)
    assert back.provenance.generation is Generation.CURRENT


def test_experts_and_names_come_back(tmp_path: Path) -> None:
    result = made.result(layers=2, types=1, snr={0: 1.5, 1: 2.0})
    result.scores.parts[0] = (("expert 0 gate", 1.0), ("expert 0 up", math.inf))
    values = np.array([math.inf, math.nan])
    result.scores.metrics["calibrated"] = MetricColumn(values, {0: (("expert 0 gate", 0.1),)})
    result = replace(result, checkpoint="0af1")
    names = tuple(name for row in result.scores.parameters for name in row)
    origin = replace(result.provenance, naming="transformers 5.23.0 MixtralForCausalLM")
    parameters = tuple(Parameter(n, (4096, 2), "linear") for n in (*names, "model.norm.weight"))
    result = replace(result, parameters=parameters, provenance=origin)
    back = load_result(save_scores(result, tmp_path).scores)
    assert same(back, result)
    assert back.scores.shape(0).startswith("2 × 4096 × ")
    assert back.scores.shape(1).count("×") == 1


def test_failed_layers_are_left_out_of_both_files(tmp_path: Path) -> None:
    result = made.result(layers=3, failed={1: "is all zero"})
    files = save_scores(result, tmp_path)
    bad = result.scores.layers[1]
    assert bad not in json.loads(files.scores.read_text())
    assert all(bad not in t for t in json.loads(files.sorted_scores.read_text()).values())
    assert load_result(files.scores).scores.problems == {1: "is all zero"}


def test_details_follow_a_file_that_was_moved_or_reformatted_at_its_ends(tmp_path: Path) -> None:
    result = made.result(bias=True)
    files = save_scores(result, tmp_path)
    moved = tmp_path / "elsewhere.json"
    files.scores.rename(moved)
    assert same(load_result(moved), result)
    moved.write_text(moved.read_text() + "\n")  # as an editor ends a file
    assert same(load_result(moved), result)
    moved.write_bytes(moved.read_bytes().replace(b"\n", b"\r\n"))
    assert same(load_result(moved), result)


def test_a_copy_of_the_weights_keeps_its_own_name(tmp_path: Path) -> None:
    first = made.result()
    copied = replace(first, provenance=replace(first.provenance, model="acme/m_1"))
    of_first, of_copy = (save_scores(one, tmp_path).scores for one in (first, copied))
    assert of_first.read_text() == of_copy.read_text()
    assert same(load_result(of_first), first)
    assert same(load_result(of_copy), copied)
    renamed = of_copy.rename(tmp_path / "renamed.json")
    assert load_result(renamed).scores.has_shapes


def test_details_that_are_kept_by_the_text_alone_are_found(tmp_path: Path) -> None:
    result = made.result()
    files = save_scores(result, tmp_path)
    (details,) = (cache_dir() / "results").iterdir()
    details.rename(details.with_name(f"{details.stem[:40]}.json"))
    assert same(load_result(files.scores), result)


def test_details_do_not_follow_a_file_that_was_edited(tmp_path: Path) -> None:
    files = save_scores(made.result(snr={0: 0.5}), tmp_path)
    files.scores.write_text(files.scores.read_text().replace('"snr": 0.5,', '"snr": 0.75,'))
    back = load_result(files.scores)
    assert back.scores.values[0] == 0.75
    assert not back.scores.has_shapes
    assert back.provenance.model == "made-llama"


@pytest.mark.parametrize("form", ["", DETAILS, "results of-tomorrow"])
@pytest.mark.parametrize("damage", ["{}", "[]", '{"layers": 3}', '{"layers": [], "snr": 1}'])
def test_damaged_details_are_as_good_as_none(damage: str, form: str, tmp_path: Path) -> None:
    result = made.result()
    files = save_scores(result, tmp_path)
    (details,) = (cache_dir() / "results").iterdir()
    if form:
        write_kept(details, form, damage)
    else:
        details.write_text(damage)
    back = load_result(files.scores)
    assert back.scores.layers == result.scores.layers
    assert not back.scores.has_shapes


def test_details_of_another_length_are_not_believed(tmp_path: Path) -> None:
    files = save_scores(made.result(), tmp_path)
    (details,) = (cache_dir() / "results").iterdir()
    data = json.loads(details.read_text().partition("\n")[2])
    write_kept(details, DETAILS, json.dumps(data))
    assert load_result(files.scores).scores.has_shapes
    values = data["metrics"]["spectrum"]["values"]
    for wrong in ({"spectrum": {"values": values[:-1], "parts": []}}, {}):
        write_kept(details, DETAILS, json.dumps({**data, "metrics": wrong}))
        assert not load_result(files.scores).scores.has_shapes


FLAT_OF_TWOFOLD = """{
    "model.layers.0.mlp.down_proj": {
        "snr": 0.25,
        "type": "mlp.down_proj"
    },
    "model.layers.1.mlp.down_proj": {
        "snr": 0.5,
        "type": "mlp.down_proj"
    }
}"""
TWOFOLD = (
    "spectrum-tui results 2db93a39 0668e573\n"
    '{"layers": ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"], "type_names": ["m'
    'lp.down_proj"], "type_ids": [0, 0], "snr": [0.25, 0.5], "rows": [4096, 4096], "columns": [1433'
    '6, 14336], "numel": [58720256, 58720256], "parameters": [["model.layers.0.mlp.down_proj.weight'
    '"], ["model.layers.1.mlp.down_proj.weight"]], "problems": [], "parts": [[0, [["expert 0 gate",'
    ' 0.0], ["expert 0 up", 0.5]]]], "metrics": {"spectrum": {"values": [1.5, 2.0], "parts": [[0, ['
    '["expert 0 gate", 1.0], ["expert 0 up", 2.0]]]]}, "calibrated": {"values": [0.25, 0.5], "parts'
    '": [[0, [["expert 0 gate", 0.0], ["expert 0 up", 0.5]]]]}}, "head": [{"name": "model.embed_tok'
    'ens.weight", "numel": 525336576, "tied": [], "task": false}, {"name": "lm_head.weight", "numel'
    '": 525336576, "tied": [], "task": false}], "provenance": {"model": "made/llama", "revision": "'
    '8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920", "architecture": "LlamaForCausalLM", "dtypes": "bf16'
    '", "metric": "calibrated", "naming": "the checkpoint", "device": "cpu", "finished": "2026-01-3'
    '1 12:00 UTC", "version": "0.1.0", "generation": "noise 1.0 where empty", "notes": [], "precisi'
    'on": "exact"}, "total_parameters": 1168113664, "planned": 2, "skipped": [], "model_parameters"'
    ': [], "checkpoint": "0af1"}'
)


def test_details_that_hold_the_ranking_column_twice_are_read(tmp_path: Path) -> None:
    kept = cache_dir() / "results" / "c63066fb3da372e1c11a0579d06e0f8092dd7420.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(TWOFOLD)
    path = tmp_path / "any.json"
    path.write_text(FLAT_OF_TWOFOLD)
    result = load_result(path)
    wanted = made.result(layers=2, types=1, snr={0: 1.5, 1: 2.0})
    spectrum = MetricColumn(
        wanted.scores.values, {0: (("expert 0 gate", 1.0), ("expert 0 up", 2.0))}
    )
    calibrated = MetricColumn(
        np.array([0.25, 0.5]), {0: (("expert 0 gate", 0.0), ("expert 0 up", 0.5))}
    )
    metrics = {"spectrum": spectrum, "calibrated": calibrated}
    scores = replace(wanted.scores, metrics=metrics, metric="calibrated")
    assert same(result, replace(wanted, scores=scores, checkpoint="0af1"))


def test_a_cache_that_cannot_be_written_costs_only_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "file" / "cache"))
    files = save_scores(made.result(), tmp_path)
    assert not load_result(files.scores).scores.has_shapes
