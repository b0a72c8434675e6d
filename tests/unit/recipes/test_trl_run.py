"""The script for TRL as it is started, as far as that needs no TRL; tests/training runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.jobs.training import say
from tests import made
from tests.unit.recipes.trl_script import RESULT, script_of, values_in


def test_help_needs_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(script_of(RESULT), encoding="utf-8")
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train.py', '--help']\n"
        f"runpy.run_path({str(path)!r}, run_name='__main__')\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'numpy', 'yaml', 'textual', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "--learning-rate" in done.stdout and "--spectrum" not in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def model_of(names: tuple[str, ...]) -> torch.nn.Module:
    """A module with a parameter of each name."""
    model = torch.nn.Module()
    for name in names:
        *parts, last = name.split(".")
        inner: Any = model
        for part in parts:
            if part not in dict(inner.named_children()):
                inner.add_module(part, torch.nn.Module())
            inner = inner.get_submodule(part)
        inner.register_parameter(last, torch.nn.Parameter(torch.zeros(2)))
    return model


OPTIONS = SimpleNamespace(enable_spectrum=True, recipe="")


def test_what_is_named_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = values_in(script_of(RESULT), tmp_path)
    every = tuple(RESULT.names)
    model = model_of(every)
    script["freeze_model"](model, OPTIONS)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trains == set(script["NAMES"]) and len(trains) < len(every)
    said = capsys.readouterr().out
    assert f"training {2 * len(trains):,} of {2 * len(every):,} parameters" in said
    script["freeze_model"](model, SimpleNamespace(enable_spectrum=False, recipe=""))
    assert "training all of the model" in capsys.readouterr().out


def test_names_in_a_file_count_more(tmp_path: Path) -> None:
    script = values_in(script_of(RESULT), tmp_path)
    model = model_of(tuple(RESULT.names))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("unfrozen_parameters:\n- ^lm_head.weight$\n- model.layers.1.mlp.down_proj\n")
    script["freeze_model"](model, SimpleNamespace(enable_spectrum=True, recipe=str(recipe)))
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"lm_head.weight", "model.layers.1.mlp.down_proj.weight"} <= trains
    assert {name.removesuffix("bias").removesuffix("weight") for name in trains} == {
        "lm_head.",
        "model.layers.1.mlp.down_proj.",
    }
    with pytest.raises(SpectrumError, match="none"):
        script["freeze_model"](model, SimpleNamespace(enable_spectrum=True, recipe="/none"))


def test_what_is_not_meant_ends_it(tmp_path: Path) -> None:
    script = values_in(script_of(RESULT), tmp_path)
    lacking = tuple(name for name in RESULT.names if name != script["NAMES"][-1])
    with pytest.raises(SpectrumError, match=r"Not in this model: .*, one of 1 such names"):
        script["freeze_model"](model_of(lacking), OPTIONS)
    with pytest.raises(SpectrumError, match="Nothing that the recipe names"):
        script["freeze_model"](model_of(("a",)), OPTIONS)


def test_an_assumed_head_that_is_missing_does_not_end_it(tmp_path: Path) -> None:
    script = values_in(script_of(made.result(sizes=False)), tmp_path)
    there = tuple(name for name in script["NAMES"] if name != "lm_head.weight")
    script["freeze_model"](model_of(there), OPTIONS)


def test_only_the_first_process_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        say(f"rank {rank}")
    assert capsys.readouterr().out == "rank 0\n"
