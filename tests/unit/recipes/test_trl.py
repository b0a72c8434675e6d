"""The script for TRL as a file: what it embeds, and that it is clean."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import DEMO_NAME
from tests import made
from tests.unit.recipes.trl_script import RESULT, script_of, values_in


def from_class(result: Result, naming: str) -> Result:
    return replace(result, provenance=replace(result.provenance, naming=naming))


# -- what is embedded --------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "embeddings"), [(25, True), (50, False), (100, True)])
def test_the_names_are_those_of_the_spectrum_yaml(
    percent: int, embeddings: bool, tmp_path: Path
) -> None:
    values = values_in(script_of(RESULT, percent, embeddings=embeddings), tmp_path)
    lines = (
        SpectrumYaml(Selection(RESULT))
        .text(Policy(percent=percent, embeddings=embeddings))
        .splitlines()
    )
    assert list(values["NAMES"]) == [x.removeprefix("- ") for x in lines if x.startswith("- ")]
    assert values["ASSUMED"] == ()


def test_the_model_is_the_one_that_was_scanned(tmp_path: Path) -> None:
    values = values_in(script_of(RESULT), tmp_path)
    assert (values["MODEL"], values["REVISION"]) == ("made/llama", RESULT.provenance.revision)


@pytest.mark.parametrize("model", ["a-folder", DEMO_NAME, 'x"; import os #', "a/b/c"])
def test_what_is_no_hub_id_is_left_to_the_command_line(model: str, tmp_path: Path) -> None:
    result = replace(RESULT, provenance=replace(RESULT.provenance, model=model))
    values = values_in(script_of(result), tmp_path)
    assert (values["MODEL"], values["REVISION"]) == ("", "")


@pytest.mark.parametrize(
    ("naming", "expected"),
    [
        ("the checkpoint", ""),
        ("LlamaForCausalLM", "LlamaForCausalLM"),
        ("transformers 5.23.0 Gemma3ForCausalLM", "Gemma3ForCausalLM"),
        ("transformers 5.4.0.dev0 XForCausalLM matched by suffix", "XForCausalLM"),
    ],
)
def test_the_class_is_the_one_whose_names_these_are(
    naming: str, expected: str, tmp_path: Path
) -> None:
    values = values_in(script_of(from_class(RESULT, naming)), tmp_path)
    assert values["MODEL_CLASS"] == expected


def test_an_assumed_head_may_be_missing(tmp_path: Path) -> None:
    values = values_in(script_of(made.result(sizes=False)), tmp_path)
    assert set(values["ASSUMED"]) == {"model.embed_tokens.weight", "lm_head.weight"}
    assert set(values["ASSUMED"]) < set(values["NAMES"])
    assert values["MODEL"] == ""
    without = values_in(script_of(made.result(sizes=False), embeddings=False), tmp_path)
    assert without["ASSUMED"] == ()


def test_a_choice_that_trains_nothing_is_refused() -> None:
    with pytest.raises(SelectionError, match="5 % selects no layer"):
        script_of(made.result(layers=10), 5)


@pytest.mark.parametrize("embeddings", [True, False])
def test_it_is_clean(embeddings: bool, tmp_path: Path) -> None:
    for number, result in enumerate((RESULT, made.result(sizes=False), made.result(norms=True))):
        (tmp_path / f"{number}.py").write_text(
            script_of(result, embeddings=embeddings), encoding="utf-8"
        )
    rules = "E,F,W,I,UP,B,N,SIM,PTH,RUF,ANN,ERA,S"
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        ["check", "--isolated", "--line-length=100", f"--select={rules}", "--ignore=ANN401,RUF001"],
        ["check", "--isolated"],
        ["format", "--isolated", "--line-length=100", "--check"],
    ):
        done = subprocess.run(
            [*ruff, *command, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
