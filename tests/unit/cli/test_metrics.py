"""--metric: what ranks the layers, and what the files are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.settings import METRICS
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture, refused


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny", llama(4))


def test_another_metric_writes_files_of_its_own(model: Path, capsys: Capture) -> None:
    assert main(["scan", str(model), "--top-percent", "25"]) == 0
    plain = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
    command = ["scan", str(model), "--top-percent", "25", "--metric", "stable-rank", "--json"]
    capsys.readouterr()
    assert main(command) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["metric"] == "stable_rank"
    files = data["files"].values()
    assert all("tiny_stable_rank" in path and Path(path).is_file() for path in files)
    assert {path: path.read_bytes() for path in plain} == plain
    flat = json.loads(Path(data["files"]["scores"]).read_text())
    for row in data["layers"]:
        assert tuple(row["metrics"]) == METRICS
        assert row["snr"] == row["metrics"]["stable_rank"] == flat[row["layer"]]["snr"]
    text = Path(data["files"]["yaml"]).read_text()
    assert "# Spectrum: the top 25 % of each layer type by stable rank\n" in text
    assert "metric stable_rank" in text


def test_a_metric_ranks_saved_scores_without_another_scan(model: Path, capsys: Capture) -> None:
    assert main(["scan", str(model), "--metric", "effective_rank"]) == 0
    wanted = (Path.cwd() / RECIPE.format("tiny_effective_rank", 50)).read_text()
    assert main(["scan", str(model)]) == 0
    capsys.readouterr()
    assert main(["yaml", FLAT.format("tiny"), "--metric", "effective_rank"]) == 0
    assert capsys.readouterr().out == wanted
    assert main(["yaml", FLAT.format("tiny_effective_rank")]) == 0  # the file's own
    assert capsys.readouterr().out == wanted


def test_a_file_without_the_metric_says_so(capsys: Capture) -> None:
    Path("x.json").write_text('{"a.0.b": {"snr": 1.5, "type": "b"}}')
    message = refused(capsys, "yaml", "x.json", "--metric", "calibrated")
    assert "no calibrated, only spectrum" in message
    assert "Scan the model" in message
