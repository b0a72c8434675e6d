"""A cache that cannot be written: said beforehand, by its name, and no scan is stopped by it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from spectrum_tui.cli import scan_model
from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.files import cache_dir, cache_note, cannot_write, usable_cache
from spectrum_tui.core.journal.journal import journal_path
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.saved import store
from spectrum_tui.core.scanning import run
from spectrum_tui.worker.progress import Snapshot
from tests.checkpoints import llama, save
from tests.commands import FLAT, RECIPE, Capture


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return save(tmp_path / "models" / "tiny", llama(2))


@pytest.fixture
def bad_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "file" / "cache"))
    return str(tmp_path / "file" / "cache")


def test_a_scan_writes_the_same_files_and_says_what_is_not_kept(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["scan", str(model), "--output-dir", "kept"]) == 0
    assert "SPECTRUM_TUI_CACHE" not in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    bad = str(tmp_path / "file" / "cache")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", bad)
    assert main(["scan", str(model), "--output-dir", "bare"]) == 0
    (line,) = (x for x in capsys.readouterr().err.splitlines() if "SPECTRUM_TUI_CACHE" in x)
    assert line.startswith(f"note: The cache {bad} cannot be written (")
    assert "starts over" in line
    for name in (FLAT.format("tiny"), RECIPE.format("tiny", 50)):
        assert (Path("bare") / name).read_bytes() == (Path("kept") / name).read_bytes()
    assert os.environ["SPECTRUM_TUI_CACHE"] == bad
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("part", ["scans", "results"])
def test_a_folder_in_the_cache_that_cannot_be_written(part: str, model: Path) -> None:
    """As a scan by another user leaves it behind."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    (cache_dir() / part).write_text("")
    with usable_cache():
        assert f"{part}: File exists)" in cache_note()
        assert cache_note() in with_exact_names(inspect_model(str(model))).summary.notes
    assert cache_note() == ""


def test_the_temporary_cache_is_of_child_processes_too(bad_cache: str, tmp_path: Path) -> None:
    with usable_cache():
        inside = cache_dir()
        assert os.environ["SPECTRUM_TUI_CACHE"] == str(inside)
        assert inside.stat().st_mode & 0o777 == 0o700
        with usable_cache():  # the worker of an app that has one already
            assert cache_dir() == inside
    assert not inside.exists()


def test_a_cache_that_is_writable_is_used_and_stays(tmp_path: Path) -> None:
    before = cache_dir()
    with usable_cache():
        assert cache_dir() == before
        assert cache_note() == ""
    assert sorted(path.name for path in before.iterdir()) == ["results", "scans"]


def test_where_nothing_can_be_written_the_cache_is_named(
    model: Path, bad_cache: str, tmp_path: Path, capsys: Capture
) -> None:
    shutil.rmtree(tmp_path / "temporary")
    assert main(["scan", str(model)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"Cannot write {bad_cache}/scans/" in last
    assert "SPECTRUM_TUI_CACHE" in last
    assert "output folder" not in last


def test_a_journal_that_cannot_be_written_is_named(model: Path, capsys: Capture) -> None:
    journal = journal_path(read_checkpoint(model).fingerprint)
    journal.mkdir(parents=True)
    assert main(["scan", str(model)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"Cannot write {journal}: Is a directory." in last
    assert "SPECTRUM_TUI_CACHE" in last


@pytest.mark.parametrize("temporary", [False, True])
def test_scores_that_cannot_be_written_are_called_kept_where_they_are(
    temporary: bool, model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise cannot_write(Path("scores.json"), OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(store, "save_scores", full)
    monkeypatch.setattr(run, "cache_note", lambda: "temporary" if temporary else "")
    assert main(["scan", str(model)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "Cannot write scores.json" in last
    assert ("The scores are kept" in last) is not temporary


def test_an_interrupted_scan_does_not_promise_what_it_cannot_keep(
    bad_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(scan_model, "say", said.append)
    with usable_cache():
        assert scan_model._interrupted(Snapshot(done=3, layers=9)) == 130
    assert scan_model._interrupted(Snapshot(done=3, layers=9)) == 130
    assert "starts over" in said[0]
    assert said[1].endswith("the same command goes on from there")
    scan_model._interrupted(Snapshot(done=3, layers=9), fresh=True)
    assert said[2].endswith("the same command without --fresh goes on from there")
