"""Policies on the command line: the same options everywhere, read back from a recipe, and refused
before a scan rather than after it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.commands import Capture, refused
from tests.scans import spy_on_scores

pytestmark = pytest.mark.usefixtures("in_empty_folder")

DOWN = "model.layers.0.mlp.down_proj"
SHAPED = [
    *("--top-percent", "25", "--type-percent", "mlp.*=50", "--blocks", "0-2,5-"),
    *("--pin", DOWN, "--ban", "model.layers.6.*", "--no-embeddings"),
]
POLICY = Policy(
    percent=25,
    embeddings=False,
    type_percents=(("mlp.*", 50),),
    blocks=((0, 2), (5, None)),
    pins=(DOWN,),
    bans=("model.layers.6.*",),
)


@pytest.fixture
def scores(tmp_path: Path) -> str:
    result = made.with_parameters(made.with_metrics(made.result(layers=8)))
    return str(save_scores(result, tmp_path / "a").scores)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save(tmp_path / "models" / "tiny", llama(4)))


def names_in(text: str) -> list[str]:
    names: list[str] = yaml.safe_load(text)["unfrozen_parameters"]
    return names


def selected(path: str, policy: Policy) -> set[str]:
    result = load_result(Path(path))
    rows = np.flatnonzero(Selection(result).mask(policy))
    return {f"{result.scores.layers[row]}.weight" for row in rows}


def test_a_recipe_selects_again_as_it_did(scores: str, capsys: Capture) -> None:
    assert main(["export", scores, *SHAPED, "-o", "x.yaml"]) == 0
    written = Path("x.yaml").read_text()
    assert set(names_in(written)) == selected(scores, POLICY)
    capsys.readouterr()
    assert main(["yaml", scores, "--policy", "x.yaml"]) == 0
    assert capsys.readouterr().out == written
    assert main(["yaml", scores, "--policy", "x.yaml", "--top-percent", "50"]) == 0
    out = capsys.readouterr().out
    more = Policy(**{**{f: getattr(POLICY, f) for f in POLICY.__slots__}, "percent": 50})
    assert set(names_in(out)) == selected(scores, more)


def test_on_another_model_of_the_family_what_is_missing_is_said(
    scores: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["export", scores, *SHAPED, "-o", "x.yaml"]) == 0
    small = made.result(layers=4, types=2, names={0: "model.layers.0.mlp.up_proj"})
    path = str(save_scores(small, tmp_path / "b").scores)
    capsys.readouterr()
    assert main(["yaml", path, "--policy", "x.yaml"]) == 0
    err = capsys.readouterr().err
    assert f"2 choices of the policy match nothing here: {DOWN}, model.layers.6.*" in err

    assert main(["yaml", path, "--policy", "x.yaml", "--pin", "model.layers.1.*"]) == 0
    assert "1 choice of the policy matches nothing here" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["a" * 300_000, "'" + "a b" * 100_000 + "'", "'" + "a" * 300_000])
def test_an_endless_name_in_a_recipe_is_refused_at_once(
    line: str, scores: str, capsys: Capture
) -> None:
    Path("x.yaml").write_text(f"# policy: --pin {line}\n")
    begin = time.process_time()
    assert "The policy in x.yaml cannot be read" in refused(
        capsys, "yaml", scores, "--policy", "x.yaml"
    )
    assert time.process_time() - begin < 1


def test_equal_pins_count_once(scores: str, capsys: Capture) -> None:
    assert main(["yaml", scores, "--pin", DOWN, "--pin", DOWN, "--ban", "model.layers.6.*"]) == 0
    assert ", 1 pin, 1 ban\n" in capsys.readouterr().out


def test_blocks_that_are_not_there_are_refused(scores: str, capsys: Capture) -> None:
    said = "The model has blocks 0-7: 100-200 holds none."
    for command in ("yaml", "memory"):
        assert said in refused(
            capsys, command, scores, "--blocks", "100-200", "--top-percent", "100"
        )
    assert main(["yaml", scores, "--blocks", "7,100-200"]) == 0


def test_pins_that_a_budget_does_not_hold_are_named(scores: str, capsys: Capture) -> None:
    said = refused(capsys, "yaml", scores, "--budget", "10K", "--pin", DOWN, "--no-embeddings")
    assert "What is pinned does not fit into 10K: it takes about" in said


def test_the_policy_of_an_adapter_is_in_its_script(scores: str, capsys: Capture) -> None:
    plain = [scores, "--top-percent", "25", "--no-embeddings"]
    assert main(["export", *plain, "--as", "peft-lora", "-o", "lora.json"]) == 0
    capsys.readouterr()
    assert main(["yaml", *plain]) == 0
    written = capsys.readouterr().out
    assert main(["yaml", scores, "--policy", "lora.json"]) == 0
    assert capsys.readouterr().out == written


def test_memory_and_compare_take_the_same_options(scores: str, capsys: Capture) -> None:
    assert main(["export", scores, *SHAPED, "-o", "x.yaml"]) == 0
    capsys.readouterr()
    assert main(["memory", scores, "--json", "--policy", "x.yaml"]) == 0
    data = json.loads(capsys.readouterr().out)
    totals = Selection(load_result(Path(scores))).totals(POLICY)
    assert data["trained_parameters"] == totals.parameters
    assert data["policy"].startswith("--top-percent 25 --metric spectrum --type-percent")
    assert main(["compare", scores, scores, "--json", "--policy-b", "x.yaml"]) == 0
    both = json.loads(capsys.readouterr().out)["types_in_both"]
    plain = len(selected(scores, Policy()))
    assert (both["selected_a"], both["selected_b"]) == (plain, totals.layers)
    assert main(["compare", scores, scores, "--policy", "x.yaml"]) == 0
    assert "blocks 0-2,5- only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pin", "nothing"], "No layer or type here is called nothing"),
        (["--ban", "model.layers.9.*"], "No layer or type here is called model.layers.9.*"),
        (["--type-percent", "moe.*=3"], "No layer or type here is called moe.*"),
        (["--rule", "global"], "The rule global compares layers of different types"),
        (["--rule", "best"], "There is no rule 'best'"),
        (["--way", "by hand"], "There is no preset 'by'"),
        (["--budget", "much"], "'much' is no budget"),
        (["--blocks", "3-1"], "'3-1' is no range of blocks"),
        (["--pin", "a" * 300_000], "A name of 300,000 characters is no layer's: aaaaa"),
        (["--type-percent", "a" * 1_001 + "=3"], "A name of 1,003 characters is no layer's"),
        (["--policy", "none.yaml"], "none.yaml cannot be read"),
        (["--policy", "~nobody-of-this-name/x"], "x cannot be read"),
        (["--policy", "x" * 300], "cannot be read"),
    ],
)
def test_a_scan_is_refused_before_it_begins(
    options: list[str],
    said: str,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    computed = spy_on_scores(monkeypatch)
    assert said in refused(capsys, "scan", model, *options)
    assert not computed and not list(Path().glob("*.yaml"))


def test_a_scan_writes_what_the_policy_says(model: str, capsys: Capture) -> None:
    pin = "model.layers.3.mlp.up_proj"
    assert main(["scan", model, "--json", "--pin", pin, "--blocks", "1-2"]) == 0
    data = json.loads(capsys.readouterr().out)
    trained = {row["layer"] for row in data["layers"] if row["trains"]}
    assert pin in trained
    assert all(".1." in name or ".2." in name for name in trained - {pin} if "layers" in name)
    assert data["policy"] == f"--top-percent 50 --metric spectrum --blocks 1-2 --pin {pin}"
    text = Path(data["files"]["yaml"]).read_text()
    assert f"- {pin}.weight" in text and data["policy"] in text


def test_a_budget_that_holds_nothing_keeps_the_scores(model: str, capsys: Capture) -> None:
    assert main(["scan", model, "--budget", "10"]) == 2
    err = capsys.readouterr().err
    assert "Not even one layer fits into 10" in err and "the scores are in" in err
    assert list(Path("model_snr_results").glob("*.json")) and not list(Path().glob("*.yaml"))
