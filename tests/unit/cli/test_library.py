"""`spectrum-tui library` and `--last`: what scans and opened files leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.proof.proof import proof_text
from spectrum_tui.core.saved import library
from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.commands import FLAT, Capture, process, refused
from tests.unit.proof.proofs import proof

pytestmark = pytest.mark.usefixtures("in_empty_folder")


def test_a_scan_stands_in_the_list(tmp_path: Path, capsys: Capture) -> None:
    model = save(tmp_path / "models" / "tiny", llama(2))
    assert main(["scan", str(model), "--types", "mlp.*"]) == 0
    capsys.readouterr()
    assert main(["library", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    path = Path(FLAT.format("tiny")).absolute()
    assert {name: entry[name] for name in ("path", "model", "layers", "planned", "gone")} == {
        "path": str(path),
        "model": "tiny",
        "layers": 6,
        "planned": 6,
        "gone": False,
    }
    assert entry["device"] == "cpu"
    path.unlink()
    assert main(["library"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "used", "scanned", "layers", "metric", "device", "file"]
    assert line.split()[0] == "tiny"
    assert line.endswith(f"{path}  gone")


def test_an_empty_library_says_how_to_fill_it(capsys: Capture) -> None:
    assert main(["library"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "No scan is recorded yet" in err
    assert main(["library", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


OPENING = [
    ("yaml", "a.json", "--top-percent", "50"),
    ("export", "a.json", "--as", "csv", "--top-percent", "50"),
    ("memory", "a.json", "--json"),
    ("compare", "a.json", "b.json", "--json"),
]


@pytest.mark.parametrize("command", OPENING, ids=lambda command: command[0])
def test_a_command_records_the_files_that_it_opens(
    command: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    for name in ("a", "b"):
        save_scores(made.with_parameters(made.result(layers=4)), tmp_path).scores.rename(
            f"{name}.json"
        )
    assert main(list(command)) == 0
    out = capsys.readouterr().out
    opened = {word for word in command if word.endswith(".json")}
    assert {Path(entry.path).name for entry in library.entries()} == opened
    folder = cache_dir() / "library"
    shutil.rmtree(folder)
    folder.touch()  # no folder: nothing can be recorded there
    assert main(list(command)) == 0
    assert capsys.readouterr().out == out
    assert library.entries() == []


def test_hostile_names_are_printable(tmp_path: Path, capsys: Capture) -> None:
    result = made.result(model="a\x1b[2J\u202eb")
    library.record(result, save_scores(result, tmp_path).scores)
    library.annotate(library.entries()[0], "note \x9b7")
    for arguments in (["library"], ["library", "--json"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert "note" in out


def test_last_needs_a_file_that_is_there(tmp_path: Path, capsys: Capture) -> None:
    assert "no score file that is still there" in refused(capsys, "--last")
    result = made.result()
    path = save_scores(result, tmp_path).scores
    library.record(result, path)
    assert "Leave out 'org/model'" in refused(capsys, "--last", "org/model")
    assert "needs a terminal" in refused(capsys, "--last")


def test_the_list_loads_no_numpy() -> None:
    code = (
        "import sys\nfrom spectrum_tui.cli.main import main\nassert main() == 0\n"
        "heavy = {'textual', 'rich', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = process("library", code=code)
    assert done.returncode == 0, done.stderr


def test_two_arguments_are_for_comparing(tmp_path: Path, capsys: Capture) -> None:
    path = str(save_scores(made.result(), tmp_path).scores)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- a\n")
    for pair in ((path, "org/model"), ("org/model", path), (path, str(recipe))):
        assert "one argument too many" in refused(capsys, *pair)
    assert "There is no file" in refused(capsys, path, "missing.json")
    assert "--sizes-from is for one file" in refused(capsys, path, "--sizes-from", "m", path)
    said = refused(capsys, path, "--top-percent", "5", path)
    assert "needs a terminal" in said and f"`spectrum-tui compare {path} {path}`" in said


def test_without_a_terminal_the_fitting_command_is_named(tmp_path: Path, capsys: Capture) -> None:
    path = save_scores(made.result(), tmp_path / "a b").scores
    assert f"`spectrum-tui yaml '{path}'`" in refused(capsys, str(path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- a\n")
    assert f"`spectrum-tui audit {recipe}`" in refused(capsys, str(recipe))
    assert "`spectrum-tui scan org/model`" in refused(capsys, "org/model")
    (tmp_path / "proof.json").write_text(proof_text(proof([])))
    for named in (tmp_path, tmp_path / "proof.json"):
        assert f"Without one, read {tmp_path / 'proof.md'}." in refused(capsys, str(named))
