"""Recipes of scans in which layers failed: refused where much is missing, and said where little."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.check import refuse_missing
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import save_scores
from tests import checkpoints, made
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture, refused
from tests.made import TEXT_KINDS

WIDE = [
    row
    for row in range(84)
    if "gate" in made.result().scores.layers[row] or "up_proj" in made.result().scores.layers[row]
]
"""Rows of 14336 x 4096: of 12 x 7 layers."""


def failed(*rows: int, sizes: bool = True) -> Result:
    return made.with_parameters(
        made.result(layers=12, failed=dict.fromkeys(rows, "cannot be read"), sizes=sizes)
    )


def share_of(result: Result) -> float:
    numel = result.scores.numel
    return float(sum(numel[row] for row in result.scores.problems) / numel.sum())


MANY = failed(*WIDE[:6])
FEW = failed(*WIDE[:3])


@pytest.mark.parametrize("kind", TEXT_KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_refused_where_a_tenth_is_missing_unless_asked_for(kind: RecipeKind) -> None:
    assert share_of(MANY) > 0.1
    with pytest.raises(SelectionError, match=r"6 of 84 layers have no score: 1\d\S* ?% of the"):
        drafted(kind, Choice(selection=Selection(MANY), policy=Policy(percent=50)))
    choice = Choice(selection=Selection(MANY), policy=Policy(percent=50), allow_missing=True)
    files = drafted(kind, choice)
    said = any("6 of 84 layers have no score" in file.text for file in files)
    assert said is (kind.name != "spectrum-reference")


def test_a_few_missing_layers_are_said_in_the_comment_and_not_refused() -> None:
    assert 0.01 < share_of(FEW) < 0.1
    text = drafted(DEFAULT_KIND, Choice(selection=Selection(FEW), policy=Policy(percent=50)))[
        0
    ].text
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert sum("3 of 84 layers have no score" in line for line in comments) == 1
    names = yaml.safe_load(text)["unfrozen_parameters"]
    missing = {FEW.scores.parameters[row][0] for row in FEW.scores.problems}
    assert not missing & set(names)
    assert (
        "no score"
        not in drafted(
            TEXT_KINDS[0], Choice(selection=Selection(failed()), policy=Policy(percent=50))
        )[0].text
    )


def test_parameters_count_and_not_layers() -> None:
    """Ten small layers of 84 are 2 % of the parameters; without sizes, layers are counted."""
    small = [r for r in range(84) if "k_proj" in made.result().scores.layers[r]][:10]
    refuse_missing(failed(*small), allowed=False)
    with pytest.raises(SelectionError, match="10 of 84 layers"):
        refuse_missing(failed(*small, sizes=False), allowed=False)
    refuse_missing(failed(*small[:8], sizes=False), allowed=False)


@pytest.mark.parametrize("command", ["yaml", "export"])
def test_the_commands_refuse_and_write_when_asked(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = str(save_scores(MANY, tmp_path / "a").scores)
    for output in ([], ["-o", "recipe.yaml"]):
        error = refused(capsys, command, scores, *output)
        assert "6 of 84 layers have no score" in error
        assert "--allow-missing" in error
    assert main([command, scores, "--allow-missing"]) == 0
    assert "6 of 84 layers have no score" in capsys.readouterr().out


def test_a_scan_of_which_most_failed_keeps_the_scores_and_writes_no_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = llama(2)
    for part in ("gate_proj", "up_proj"):
        tensors = checkpoints.spoil(tensors, f"model.layers.0.mlp.{part}", float("nan"))
    model = str(save(tmp_path / "m", tensors))
    assert main(["scan", model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 of 16 layers have no score" in err.splitlines()[-1]
    assert f"the scores are in {FLAT.format('m')}" in err
    assert len(json.loads(Path(FLAT.format("m")).read_text())) == 14
    assert not Path(RECIPE.format("m", 50)).exists()
    assert main(["scan", model, "--allow-missing"]) == 1
    assert "2 of 16 layers have no score" in Path(RECIPE.format("m", 50)).read_text()


def without_a_layer(folder: Path) -> Path:
    """A model of three layers of which the last is not stored: 24 % of the matrices' elements."""
    return save(folder, llama(2), config={"num_hidden_layers": 3})


def test_what_is_not_stored_is_missing_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(without_a_layer(tmp_path / "m"))
    assert main(["scan", model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "7 of 23 layers have no score" in err.splitlines()[-1]
    assert not Path(RECIPE.format("m", 50)).exists()
    for command in ("yaml", "export"):
        assert "7 of 23 layers" in refused(capsys, command, FLAT.format("m"))
    assert main(["scan", model, "--allow-missing"]) == 0
    assert "7 of 23 layers have no score" in Path(RECIPE.format("m", 50)).read_text()


def test_of_types_that_were_not_chosen_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(without_a_layer(tmp_path / "m"))
    assert main(["scan", model, "--types", "lm_head", "--top-percent", "100"]) == 0
    assert "no score" not in Path(RECIPE.format("m", 100)).read_text()
