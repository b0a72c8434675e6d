"""`spectrum-tui library` and `--last`: what scans and opened files leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.saved import library
from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.checkpoints import llama, save
from tests.commands import FLAT, Capture, process, refused

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
    assert "needs a terminal" in refused(capsys, path, "--top-percent", "5", path)
