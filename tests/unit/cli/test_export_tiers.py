"""`spectrum-tui export` of adapter recipes: the tiers' options, and both files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.commands import Capture, refused

TIERS = ("--medium-percent", "60", "--high-rank", "16", "--medium-rank", "4")


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A saved score file."""
    monkeypatch.chdir(tmp_path)
    return str(save_scores(made.with_parameters(made.result(layers=20)), tmp_path).scores)


def exported(scores: str, kind: str, *options: str) -> dict[str, object]:
    """The JSON that is written beside a Python file of the same name."""
    assert main(["export", scores, "--as", kind, "-o", "adapter.json", *options]) == 0
    assert 'with_suffix(".json")' in Path("adapter.py").read_text()
    found: dict[str, object] = json.loads(Path("adapter.json").read_text())
    return found


def test_the_options_are_the_tiers(scores: str, capsys: Capture) -> None:
    config = exported(scores, "peft-tiers", "--top-percent", "20", *TIERS)
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    ranks, modules = config["rank_pattern"], config["target_modules"]
    assert isinstance(ranks, dict) and set(ranks.values()) == {16} and len(ranks) == 4 * 7
    assert isinstance(modules, list) and len(modules) == 12 * 7
    assert "wrote adapter.json" in capsys.readouterr().err


@pytest.mark.parametrize(("percent", "end"), [(10, 50), (40, 50), (50, 75), (90, 95)])
def test_the_medium_tier_has_an_end_without_being_told(scores: str, percent: int, end: int) -> None:
    config = exported(scores, "peft-hybrid", "--top-percent", str(percent))
    whole, modules = config["modules_to_save"], config["target_modules"]
    assert isinstance(whole, list) and len(whole) == 20 * percent // 100 * 7
    assert isinstance(modules, list) and len(modules) == 20 * end // 100 * 7 - len(whole)


def test_without_a_file_the_json_is_printed(scores: str, capsys: Capture) -> None:
    assert main(["export", scores, "--as", "peft-lora", "--high-rank", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["r"] == 64


@pytest.mark.parametrize("name", ["adapter", "adapter.py", "adapter.yaml"])
def test_the_json_must_be_called_as_the_python_file_calls_it(
    scores: str, capsys: Capture, name: str
) -> None:
    said = refused(capsys, "export", scores, "--as", "peft-lora", "-o", name)
    assert f"{name} must end in .json" in said and "Give -o adapter.json." in said


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("spectrum", ("--high-rank", "8"), "--high-rank does not work with spectrum"),
        ("peft-lora", ("--medium-rank", "8"), "--medium-rank does not work with peft-lora"),
        (
            "peft-groups",
            ("--medium-percent", "60"),
            "--medium-percent does not work with peft-groups",
        ),
        ("peft-tiers", ("--medium-percent", "49"), "--medium-percent '49' is not usable"),
        ("peft-tiers", ("--medium-percent", "101"), "50 to 100"),
        ("peft-tiers", ("--high-rank", "0"), "--high-rank '0' is not usable"),
        ("peft-tiers", ("--medium-rank", "x"), "Give a whole number, 1 to 65536"),
        ("peft-hybrid", ("--medium-percent", "50"), "which PEFT needs"),
    ],
)
def test_what_cannot_be_is_refused(
    scores: str, capsys: Capture, kind: str, options: tuple[str, ...], message: str
) -> None:
    assert message in refused(capsys, "export", scores, "--as", kind, *options)
