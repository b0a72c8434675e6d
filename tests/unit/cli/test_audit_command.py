"""`spectrum-tui audit` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from spectrum_tui.cli.main import main
from tests.checkpoints import llama, save
from tests.commands import Capture, refused

GOOD = "unfrozen_parameters:\n- model.layers.1.mlp.down_proj.weight\n"
BAD = "unfrozen_parameters:\n- ^model\\.layers\\.1\\.mlp\\.down_proj\\.weight$\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)
    return tmp_path


def test_no_defect_is_0_and_defects_are_1(capsys: Capture) -> None:
    assert main(["audit", "good.yaml"]) == 0
    assert capsys.readouterr() == ("good.yaml: 1 entry, no defect\n", "")
    assert main(["audit", "bad.yaml"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "bad.yaml: 1 entry, 1 error, 1 warning"
    assert "✗ error line 2: " in out
    assert "-o FIXED.yaml" in err


def test_the_model_is_read_and_the_corrected_file_written(here: Path, capsys: Capture) -> None:
    save(here / "model", llama(2))
    assert main(["audit", "bad.yaml", "--model", "model", "-o", "fixed.yaml"]) == 1
    out, err = capsys.readouterr()
    assert "✗ axolotl          matched 0 of 1, 0 unintended" in out
    assert "✓ Soup             matched 1 of 1, 0 unintended" in out
    assert err == "wrote fixed.yaml\n"
    fixed = yaml.safe_load(Path("fixed.yaml").read_text())
    assert fixed == {"unfrozen_parameters": ["model.layers.1.mlp.down_proj.weight"]}
    assert main(["audit", "fixed.yaml", "--model", "model"]) == 0


def test_json(here: Path, capsys: Capture) -> None:
    save(here / "model", llama(2))
    assert main(["audit", "bad.yaml", "--model", "model", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["defects"] == 3
    assert {finding["code"] for finding in data["findings"]} == {
        "escaped-dot",
        "anchored",
        "nothing",
    } | {finding["code"] for finding in data["findings"] if finding["severity"] == "note"}
    assert data["parameters"]["meant"] == 1
    assert [one["name"] for one in data["trainers"] if one["exact"]] == [
        "TRL tutorial",
        "AWS sft.py",
        "Soup",
        "mixed forks",
    ]
    assert data["patterns"][0]["means"] == ["model.layers.1.mlp.down_proj.weight"]


def test_without_a_model_an_expression_cannot_be_corrected(capsys: Capture) -> None:
    Path("wild.yaml").write_text("unfrozen_parameters:\n- .+layers.1.mlp.down_proj.weight\n")
    assert main(["audit", "wild.yaml", "-o", "fixed.yaml"]) == 1
    assert "--model MODEL finds them" in capsys.readouterr().err
    assert not Path("fixed.yaml").exists()


@pytest.mark.parametrize("arguments", [["none.yaml"], ["."], ["good.yaml", "--model", "./none"]])
def test_unusable_input_is_one_line(capsys: Capture, arguments: list[str]) -> None:
    assert refused(capsys, "audit", *arguments)
