"""The generated Python files, run as they are; and their look, as ruff wants it."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("peft")

from tests.training.conftest import Models
from tests.training.peft_models import DEEP, Prepared, module_of_file, write_recipe

KINDS = ("peft-lora", "peft-tiers", "peft-hybrid", "peft-groups", "peft-dynamic")


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_runs(
    kind: str,
    name: str,
    prepared: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = prepared(name)
    path, _ = write_recipe(kind, model.choice(50, medium_percent=75), tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), str(model.folder)])
    names = runpy.run_path(str(path), run_name="__main__")
    assert f"trainable params: {names['TRAINABLE']:,} " in capsys.readouterr().out


def test_a_file_refuses_what_was_not_meant(prepared: Models, tmp_path: Path) -> None:
    model = prepared("llama")
    path, config = write_recipe("peft-tiers", model.choice(25, medium_percent=50), tmp_path)
    config["target_modules"].append("model.layers.0.mlp.up_proj.no_such_module")
    config["rank_pattern"] = {}
    path.with_suffix(".json").write_text(json.dumps(config))
    with pytest.raises(SystemExit, match="parameters would train, not"):
        module_of_file(path)["load_model"](model.folder)


def with_id(model: Prepared, name: str) -> Prepared:
    """The same model as if it had been scanned by its id."""
    origin = replace(model.result.provenance, model=name, revision="8cde5ca8")
    return replace(model, result=replace(model.result, provenance=origin))


def test_an_id_is_what_is_loaded_unless_told(
    prepared: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = prepared("llama")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "llama").symlink_to(model.folder)
    path, _ = write_recipe("peft-lora", with_id(model, "made/llama").choice(50), tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments in ((), (model.folder,)):
        assert module_of_file(path)["load_model"](*arguments).get_nb_trainable_parameters()[0]


def test_all_files_are_as_ruff_wants_them(prepared: Models, tmp_path: Path) -> None:
    for name in DEEP:
        for kind in KINDS:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            write_recipe(kind, prepared(name).choice(75, medium_percent=90), folder)
    published = with_id(prepared("llama"), "made/llama")
    write_recipe("peft-lora", published.choice(50), tmp_path)
    for command in (
        ["check", "--select", "E,F,I,B,SIM,UP", "--ignore", "E501"],
        ["format", "--check"],
    ):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "."],
            cwd=tmp_path,  # where spectrum_tui is no folder of the project
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout
