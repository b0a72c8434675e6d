"""Score files: written as the reference tool writes them, read in every form that exists."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.errors import OutputError, ResultsError
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Generation, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved import store
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made

FLAT = {
    "model.layers.0.mlp.up_proj": {"snr": 2.5, "type": "mlp.up_proj"},
    "model.layers.1.mlp.up_proj": {"snr": 1e25, "type": "mlp.up_proj"},
    "model.layers.0.input_layernorm": {"snr": 1.0, "type": "input_layernorm"},
}
SORTED = {
    "mlp.up_proj": {"model.layers.1.mlp.up_proj": 1e25, "model.layers.0.mlp.up_proj": 2.5},
    "input_layernorm": {"model.layers.0.input_layernorm": 1.0},
}


def write(folder: Path, content: str | bytes, name: str = "snr_results_org-name.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(result: Result) -> dict[str, tuple[str, float]]:
    scores = result.scores
    kinds = [scores.type_names[i] for i in scores.type_ids]
    return dict(zip(scores.layers, zip(kinds, scores.values.tolist(), strict=True), strict=True))


def test_flat_file(tmp_path: Path) -> None:
    result = load_result(write(tmp_path, json.dumps(FLAT)))
    assert table(result) == {k: (v["type"], v["snr"]) for k, v in FLAT.items()}
    assert result.scores.layers == list(FLAT)  # order of the file
    assert result.provenance.model == "org-name"
    assert not result.scores.has_shapes
    assert result.total_parameters == 0
    assert result.complete
    assert result.scores.parameters[0] == ("model.layers.0.mlp.up_proj.weight",)


def test_sorted_file(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(SORTED), "snr_results_org-name_sorted.json")
    result = load_result(path)
    assert table(result) == {k: (v["type"], v["snr"]) for k, v in FLAT.items()}
    assert result.provenance.model == "org-name"


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + json.dumps(FLAT),
        json.dumps(FLAT, indent=4).replace("\n", "\r\n"),
        "\n\n  " + json.dumps(FLAT, indent=1) + "\n\n",
    ],
    ids=["BOM", "CRLF", "white space"],
)
def test_as_editors_leave_it(content: str, tmp_path: Path) -> None:
    result = load_result(write(tmp_path, content))
    assert table(result) == {k: (v["type"], v["snr"]) for k, v in FLAT.items()}


def test_infinity_nan_null_and_whole_numbers(tmp_path: Path) -> None:
    text = """{
      "model.layers.0.a": {"snr": Infinity, "type": "a"},
      "model.layers.1.a": {"snr": NaN, "type": "a"},
      "model.layers.2.a": {"snr": null, "type": "a"},
      "model.layers.3.a": {"snr": 3, "type": "a"},
      "model.layers.4.a": {"snr": 1e999, "type": "a"},
      "model.layers.5.a": {"snr": 0.25}
    }"""
    result = load_result(write(tmp_path, text))
    snr = result.scores.values.tolist()
    assert snr[0] == snr[4] == math.inf
    assert math.isnan(snr[1])
    assert math.isnan(snr[2])
    assert snr[3] == 3.0
    assert result.scores.type_names == ["a"]  # also where the type was left out
    layers = result.scores.layers
    chosen = {layers[i] for i in np.flatnonzero(Selection(result).mask(Policy(percent=100)))}
    assert chosen == {f"model.layers.{i}.a" for i in (0, 3, 4, 5)}


@pytest.mark.parametrize("content", ["", "   \n\t ", "\ufeff", "\ufeff\n"], ids=repr)
def test_blank(content: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="blank") as caught:
        load_result(write(tmp_path, content))
    assert caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "{",
        json.dumps(FLAT)[:-20],
        "[]",
        "[1, 2]",
        "null",
        "3",
        '"text"',
        json.dumps([FLAT]),
        '{"a": 1}',
        '{"a": "snr"}',
        '{"a": ["snr"]}',
        '{"a": null}',
        '{"a": {"snr": "high", "type": "t"}}',
        '{"a": {"snr": true, "type": "t"}}',
        '{"a": {"snr": [1], "type": "t"}}',
        '{"a": {"b": {"c": 1}}}',
        '{"a": {"snr": 1' + "0" * 400 + "}}",
        '{"a": {"snr": 1' + "0" * 5000 + "}}",
        "[" * 100_000,
        '{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b"\x80\x81",
        b"\x00" * 100,
    ],
    ids=range(24),
)
def test_anything_else_is_one_line_with_a_hint(content: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(ResultsError) as caught:
        load_result(write(tmp_path, content))
    assert caught.value.hint
    assert "snr_results_org-name.json" in caught.value.message
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a.b": {"snr": 1.0, "type": "b"},\n}', "an extra comma at the end of line 1"),
        ('{"a.b": {"snr": 1.0 "type": "b"}}', "line 1, column 21: Expecting ',' delimiter"),
        ("{}".encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_the_json_is_named(
    content: str | bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultsError, match=says):
        load_result(write(tmp_path, content))


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert len(load_result(write(tmp_path, "\ufeff" + json.dumps(FLAT))).scores) == len(FLAT)


@pytest.mark.parametrize("content", ["{}", '{"mlp.up_proj": {}}'])
def test_no_layers(content: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no layer"):
        load_result(write(tmp_path, content))


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "missing.json", "cannot be read"), (tmp_path, "is a folder")):
        with pytest.raises(ResultsError, match=said) as caught:
            load_result(path)
        assert caught.value.hint


def test_written_as_the_reference_writes_it(tmp_path: Path) -> None:
    result = made.result(layers=3, types=2, snr={0: 0.5, 1: 2.0, 2: 1.0, 3: math.inf})
    files = save_scores(result, tmp_path)
    assert files.scores == tmp_path / "model_snr_results" / "snr_results_made-llama.json"
    flat = json.loads(files.scores.read_text())
    assert flat["model.layers.0.mlp.down_proj"] == {"snr": 0.5, "type": "mlp.down_proj"}
    assert flat["model.layers.0.mlp.gate_proj"]["snr"] == math.inf
    assert list(flat) == result.scores.layers
    in_order = json.loads(files.sorted_scores.read_text())
    assert list(in_order) == ["mlp.down_proj", "mlp.gate_proj"]
    assert list(in_order["mlp.down_proj"]) == [f"model.layers.{i}.mlp.down_proj" for i in (1, 2, 0)]
    for scores in in_order.values():
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError):
        save_scores(made.result(), tmp_path / "out")


NORMS = ["input_layernorm", "model.norm", "ln_1"]


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ([math.inf] * 3, Generation.BEFORE_2025_04),
        ([1.0] * 3, Generation.CURRENT),
        ([math.inf, 1.0, 1.0], Generation.UNKNOWN),
        ([0.7, 1.0, 1.0], Generation.UNKNOWN),
        ([], Generation.UNKNOWN),
    ],
)
def test_which_rule_a_file_was_made_by(
    norms: list[float], expected: Generation, tmp_path: Path
) -> None:
    rows = {"model.layers.0.mlp.up_proj": {"snr": math.inf, "type": "mlp.up_proj"}}
    for name, snr in zip(NORMS, norms, strict=False):
        rows[f"model.layers.0.{name}"] = {"snr": snr, "type": name}
    result = load_result(write(tmp_path, json.dumps(rows)))
    assert result.provenance.generation is expected


def test_the_assumed_head(tmp_path: Path) -> None:
    rows = {"model.layers.0.mlp.up_proj": {"snr": 1.0, "type": "mlp.up_proj"}}
    result = load_result(write(tmp_path, json.dumps(rows)))
    assert [h.name for h in result.embeddings] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert result.embeddings_are_guessed
    rows["model.embed_tokens"] = rows["lm_head"] = {"snr": 1.0, "type": "x"}
    result = load_result(write(tmp_path, json.dumps(rows)))
    assert [h.name for h in result.embeddings] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert not result.embeddings_are_guessed
    other = {"encoder.layer.0.output.dense": {"snr": 1.0, "type": "output.dense"}}
    result = load_result(write(tmp_path, json.dumps(other)))
    assert result.embeddings == ()
    assert not result.embeddings_are_guessed


def test_names_that_are_parameters_already_stay(tmp_path: Path) -> None:
    rows = {"model.layers.0.mlp.up_proj.weight": {"snr": 1.0, "type": "mlp.up_proj"}}
    result = load_result(write(tmp_path, json.dumps(rows)))
    assert result.scores.parameters == [("model.layers.0.mlp.up_proj.weight",)]
    assert store.weight_name("a.b") == "a.b.weight"
