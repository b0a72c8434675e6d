"""`spectrum-tui export`: every kind, to stdout and into files, and bad input in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.recipes import kinds
from spectrum_tui.core.recipes.choice import FROZEN_EMBEDDINGS, Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.writing import write_files
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import load_result, save_scores
from tests import fused, made
from tests.commands import Capture, process, refused
from tests.made import TEXT_KINDS

pytestmark = pytest.mark.usefixtures("in_empty_folder")


@pytest.fixture
def scores(tmp_path: Path) -> str:
    return str(save_scores(made.with_metrics(made.result(layers=12)), tmp_path / "a").scores)


@pytest.fixture
def mixture(tmp_path: Path) -> str:
    return str(save_scores(fused.result(), tmp_path / "b").scores)


def exported(capsys: Capture, *arguments: str) -> str:
    assert main(["export", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return str(out)


@pytest.mark.parametrize("kind", ["spectrum", "spectrum-reference", "axolotl", "trl"])
def test_stdout_is_the_first_file_of_the_kind(kind: str, scores: str, capsys: Capture) -> None:
    choice = Choice(selection=Selection(load_result(Path(scores))), policy=Policy(percent=25))
    text = exported(capsys, scores, "--as", kind, "--top-percent", "25")
    assert text == kind_named(kind).files(choice)[0].text


def test_the_default_is_what_the_yaml_command_writes(scores: str, capsys: Capture) -> None:
    for options in ([], ["--no-embeddings", "--top-percent", "9"], ["--metric", "calibrated"]):
        assert main(["yaml", scores, *options]) == 0
        written = capsys.readouterr()
        assert main(["export", scores, *options]) == 0
        assert capsys.readouterr() == written


def test_another_metric_ranks_otherwise(scores: str, capsys: Capture) -> None:
    plain = exported(capsys, scores, "--as", "spectrum-reference", "--top-percent", "25")
    other = exported(
        capsys,
        scores,
        "--as",
        "spectrum-reference",
        "--top-percent",
        "25",
        "--metric",
        "calibrated",
    )
    assert plain != other


def test_into_a_file(scores: str, capsys: Capture) -> None:
    text = exported(capsys, scores, "--as", "axolotl")
    assert main(["export", scores, "--as", "axolotl", "-o", "deep/x.yml"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "wrote deep/x.yml\n")
    assert Path("deep/x.yml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("command", [["yaml"], ["export"], ["export", "--as", "csv"]])
def test_its_own_scores_are_not_replaced(command: list[str], scores: str, capsys: Capture) -> None:
    before = Path(scores).read_text()
    copy = Path("v.json")
    copy.write_text(before)
    Path("link.yaml").symlink_to(copy)
    Path("hard.yaml").hardlink_to(copy)
    for output in ("v.json", "./v.json", "link.yaml", "hard.yaml"):
        err = refused(capsys, *command, "v.json", "-o", output)
        assert f"{Path(output)} would replace the scores that it is made from." in err
    assert copy.read_text() == before


def test_the_second_file_replaces_no_scores(scores: str, capsys: Capture) -> None:
    Path("v.py").write_text(Path(scores).read_text())
    err = refused(capsys, "export", "v.py", "--as", "peft-lora", "-o", "v.json")
    assert "v.py would replace the scores" in err


def test_nor_are_they_where_the_app_saves(scores: str) -> None:
    choice = Choice(selection=Selection(load_result(Path(scores))), policy=Policy(percent=25))
    kind = kind_named("csv")
    files = kind.files(choice)
    path = write_files(choice.selection.result, Path("out"), files, with_scores=False)
    path.write_text(Path(scores).read_text())
    result = load_result(path)
    with pytest.raises(OutputError, match="would replace the scores that it is made from"):
        write_files(result, Path("out"), files, with_scores=True)


def test_the_recipe_of_the_policy_is_not_replaced(scores: str, capsys: Capture) -> None:
    assert main(["yaml", scores, "-o", "x.yaml"]) == 0
    capsys.readouterr()
    err = refused(capsys, "yaml", scores, "--policy", "x.yaml", "-o", "./x.yaml")
    assert "x.yaml would replace the recipe that its policy is from." in err


def test_single_experts(mixture: str, capsys: Capture) -> None:
    arguments = [mixture, "--as", "axolotl", "--top-percent", "25"]
    assert "gate_up_proj[1:3]" in exported(capsys, *arguments, "--experts")
    assert "gate_up_proj[" not in exported(capsys, *arguments)


class TwoFiles(RecipeKind):
    name = "two"
    title = "Two files"
    purpose = "A file and the lines that use it"

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        return RecipeFile("_two.json", "{}\n"), RecipeFile("_two.py", "use()\n")


@pytest.fixture
def two_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "OFFERED", (*kinds.OFFERED, TwoFiles()))


def test_frozen_embeddings_are_said_where_the_file_cannot_say_it(
    scores: str, capsys: Capture
) -> None:
    for command in (["yaml", scores], ["export", scores]):
        assert main([*command, "--no-embeddings"]) == 0
        assert capsys.readouterr().err == f"note: {FROZEN_EMBEDDINGS}\n"
        assert main(command) == 0
        assert capsys.readouterr().err == ""


def test_scores_of_another_tool_without_a_number_are_missing(capsys: Capture) -> None:
    layers = {
        f"model.layers.{i}.mlp.up_proj": {"snr": 1 / (i + 1), "type": "mlp.up_proj"}
        for i in range(20)
    }
    layers["model.layers.7.mlp.up_proj"]["snr"] = math.nan
    Path("one.json").write_text(json.dumps(layers))
    assert "· 1 of 20 layers has no score" in exported(capsys, "one.json")
    for i in range(3):
        layers[f"model.layers.{i}.mlp.up_proj"]["snr"] = math.nan
    Path("four.json").write_text(json.dumps(layers))
    assert "4 of 20 layers have no score" in refused(capsys, "export", "four.json")


@pytest.mark.usefixtures("two_files")
def test_further_files_lie_beside_the_first(scores: str, capsys: Capture) -> None:
    assert main(["export", scores, "--as", "two", "-o", "deep/lora.json"]) == 0
    assert capsys.readouterr().err == "wrote deep/lora.json\nwrote deep/lora.py\n"
    assert Path("deep/lora.json").read_text() == "{}\n"
    assert Path("deep/lora.py").read_text() == "use()\n"
    assert main(["export", scores, "--as", "two"]) == 0
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert err.startswith("1 more file belongs to it: ")


@pytest.mark.usefixtures("two_files")
def test_the_first_file_is_not_there_without_the_second(scores: str, capsys: Capture) -> None:
    Path("lora.py").mkdir()
    assert "Cannot write lora.py" in refused(
        capsys, "export", scores, "--as", "two", "-o", "lora.json"
    )


BAD = {
    "no such kind": (
        ["--as", "lora-pro"],
        "no kind of recipe called 'lora-pro'. There are: spectrum, ",
    ),
    "no such percentage": (["--top-percent", "0"], "The percentage '0' is not usable"),
    "no such metric": (["--metric", "x"], "There is no metric 'x'"),
    "experts of a kind without": (["--as", "trl", "--experts"], "--experts does not work with trl"),
    "experts of scores without": (["--as", "axolotl", "--experts"], "hold no single experts"),
    "nothing selected": (["--as", "trl", "--top-percent", "8"], "8 % selects no layer"),
    "reference without head": (
        ["--as", "spectrum-reference", "--no-embeddings"],
        "always trains embeddings",
    ),
    "a folder": (["-o", "."], "Cannot write ."),
    "two score files": (["again.json"], "Unrecognized arguments: again.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, scores: str, capsys: Capture) -> None:
    arguments, expected = BAD[name]
    assert expected in refused(capsys, "export", scores, *arguments)


def test_no_scores_are_one_line(capsys: Capture) -> None:
    assert "RESULTS.json" in refused(capsys, "export")
    assert "missing.json" in refused(capsys, "export", "missing.json")


def test_help_lists_every_kind_with_its_purpose_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spectrum_tui.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'textual', 'rich', 'torch', 'transformers', 'huggingface_hub'}\n"
        "sys.stderr.write(' '.join(heavy & set(sys.modules)))"
    )
    done = process("export", "--help", code=code)
    assert done.stderr == ""
    for kind in TEXT_KINDS:
        assert f"  {kind.name} " in done.stdout
        assert kind.purpose in done.stdout


@pytest.mark.parametrize("kind", TEXT_KINDS, ids=lambda kind: kind.name)
def test_every_kind_fits_on_its_line(kind: RecipeKind) -> None:
    assert len(kind.title) <= 16
    assert len(kind.purpose) <= 34  # beside the titles, in a dialog of 60 columns
