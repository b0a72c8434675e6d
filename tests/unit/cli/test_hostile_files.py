"""Hostile text in scores and recipes: both streams of every command stay plain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.hostile import ESCAPES, HIDDEN, JSON_TEXT, TEXT, assert_plain
from tests.made import TEXT_KINDS
from tests.peft_folders import config, pairs, save_adapter
from tests.unit.cli.hostile_shell import Shell

pytestmark = pytest.mark.usefixtures("in_empty_folder")


def scores_file(tmp_path: Path, rows: Any) -> str:
    path = tmp_path / f"snr_results_{ESCAPES}{HIDDEN}.json"
    path.write_text(json.dumps(rows))
    return str(path)


ROWS: dict[str, Any] = {
    "layer": {JSON_TEXT: {"snr": 1.0, "type": "a"}, "b.0.x": {"snr": 2.0, "type": "a"}},
    "type": {f"b.{i}.x": {"snr": float(i), "type": JSON_TEXT} for i in range(4)},
    "sorted": {JSON_TEXT: {f"b.{i}.{JSON_TEXT}": float(i) for i in range(4)}},
    "number": {"a": {"snr": JSON_TEXT, "type": "a"}},
    "list": [JSON_TEXT],
    "text": JSON_TEXT,
    "layers": {f"b.{i}.{JSON_TEXT}": {"snr": float(i), "type": "t"} for i in range(9)},
}


@pytest.mark.parametrize("field", ROWS)
def test_scores(field: str, tmp_path: Path, shell: Shell) -> None:
    path = scores_file(tmp_path, ROWS[field])
    shell("yaml", path)
    shell("yaml", path, "-o", f"{ESCAPES}.yaml")
    for kind in TEXT_KINDS:
        shell("export", path, "--as", kind.name)
        shell("export", path, "--as", kind.name, "-o", f"out{Path(kind.name).suffix}.json")
    shell("compare", path, path)
    shell("compare", path, path, "--json")
    shell("memory", path)
    shell("memory", path, "--json")
    shell("yaml", path, "--sizes-from", str(tmp_path / TEXT))


def test_five_thousand_digits(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a.0.b": {"snr": ' + "9" * 5000 + ', "type": "b"}}')
    for command in ("yaml", "export", "memory"):
        code, _, err = shell(command, str(path))
        assert code == 2
        assert len(err) < 500


def hostile_result() -> Any:
    """Details of the cache as no scan of ours writes them."""
    result = made.with_parameters(made.result(layers=12, types=2))
    scores = result.scores
    scores.values[0] = np.nan
    scores.problems[0] = JSON_TEXT
    scores.parts[1] = ((JSON_TEXT, 1.0), ("b", 2.0))
    scores.type_names[1] = JSON_TEXT
    origin = result.provenance
    for field in ("model", "architecture", "dtypes", "device", "finished", "naming", "revision"):
        object.__setattr__(origin, field, JSON_TEXT)
    object.__setattr__(origin, "notes", (JSON_TEXT,))
    object.__setattr__(result, "skipped", ((JSON_TEXT, JSON_TEXT),))
    return result


def test_details_of_the_cache(tmp_path: Path, shell: Shell) -> None:
    path = str(save_scores(hostile_result(), tmp_path).scores)
    assert load_result(Path(path)).provenance.model == JSON_TEXT
    for kind in TEXT_KINDS:
        shell("export", path, "--as", kind.name)
    shell("compare", path, path)
    shell("memory", path, "--fit", "24")
    shell("memory", path, "--json")


def test_recipes_of_hostile_results_say_what_they_mean() -> None:
    """Comments are made printable; names are exact or refused."""
    choice = Choice(selection=Selection(hostile_result()), policy=Policy(percent=50))
    for kind in TEXT_KINDS:
        for file in drafted(kind, choice):
            assert_plain(file.text.encode())
            if file.ending.endswith(".yaml"):
                assert yaml.safe_load(file.text)
            if file.ending.endswith(".py"):
                compile(file.text, "x.py", "exec")


QUOTED = json.dumps(TEXT)
RECIPES = [
    f"unfrozen_parameters:\n- {TEXT}\n",
    f"# {TEXT}\nunfrozen_parameters:\n- ^model.layers.0.{ESCAPES}$\n- 'x{HIDDEN}'\n",
    f"base_model: {QUOTED}\nunfrozen_parameters:\n- {QUOTED}\n- {QUOTED}\n",
    f"{QUOTED}: 1\nadapter: {QUOTED}\nunfrozen_parameters: {QUOTED}\n",
    f"unfrozen_parameters: [{json.dumps(JSON_TEXT)}]\n",
    json.dumps({"unfrozen_parameters": [JSON_TEXT], JSON_TEXT: 1}),
    f"unfrozen_parameters:\n- a: !{ESCAPES} x\n",
    "unfrozen_parameters:\n- 1" + "0" * 5000 + "\n- x\n",
]


@pytest.mark.parametrize("text", RECIPES, ids=range(len(RECIPES)))
def test_recipes(text: str, tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / f"{ESCAPES}.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    model = save(tmp_path / "m", llama(1))
    for more in ([], ["--json"], ["-o", f"{ESCAPES}-fixed.yaml"], ["--model", str(model)]):
        shell("audit", str(path), *more)
    for file in Path().glob("*-fixed.yaml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8"))


ADAPTERS: dict[str, Any] = {
    "base_model_name_or_path": JSON_TEXT,
    "revision": JSON_TEXT,
    "peft_type": JSON_TEXT,
    "task_type": JSON_TEXT,
    "init_lora_weights": JSON_TEXT,
    "r": JSON_TEXT,
    "lora_alpha": JSON_TEXT,
    "rank_pattern": {JSON_TEXT: 4},
    "alpha_pattern": {f"({JSON_TEXT}": 4},
    "target_parameters": [JSON_TEXT],
    "modules_to_save": [JSON_TEXT],
    "trainable_token_indices": {JSON_TEXT: [1]},
}


@pytest.mark.parametrize("field", [*ADAPTERS, "names"])
def test_adapters(field: str, tmp_path: Path, shell: Shell) -> None:
    base = save(tmp_path / f"base{ESCAPES}", llama(2))
    tensors = pairs(llama(2))
    if field == "names":
        tensors = {name.replace("q_proj", f"q{TEXT}"): t for name, t in tensors.items()}
    fields = config(base) | ({field: ADAPTERS[field]} if field in ADAPTERS else {})
    folder = str(save_adapter(tmp_path / f"a{ESCAPES}{HIDDEN}", tensors, fields))
    shell("adapter", folder)
    shell("adapter", folder, "--json")
    shell("merge", folder, "-o", "m")
    shell("merge", folder, "--into", str(base), "-o", f"m{ESCAPES}")
