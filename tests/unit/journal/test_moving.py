"""Scores that lie under another name of the same weights are found, and moved there once."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.identity import Identity
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.journal import moving
from spectrum_tui.core.journal.journal import journal_path, journals, place_of
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.journal.spectra import spectra_path
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import store
from spectrum_tui.core.saved.kept_spectra import spectra_of
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import METRICS, Settings
from tests.checkpoints import llama, save, save_in_hub_cache
from tests.scans import spy_on_scores

FILE = "model.safetensors"
MATRICES = 9


def scanned(folder: Path, output: Path) -> Result:
    settings = Settings(model=str(folder), device="cpu", output_dir=str(output))
    ready = [event for event in run_scan(settings) if isinstance(event, ResultReady)]
    return store.load_result(Path(ready[0].path))


def as_before(folder: Path) -> str:
    """Give the journal of a model, and what lies beside it, the name by inode and times."""
    checkpoint = read_checkpoint(folder)
    former = checkpoint.identity.by_system
    for file in journals(journal_path(checkpoint.fingerprint)):
        for one in (file, spectra_path(file)):
            if one.is_file():
                name = one.name.replace(checkpoint.fingerprint[:40], former[:40])
                one.rename(one.with_name(name))
    return former


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return spy_on_scores(monkeypatch)


def test_no_matrix_of_the_same_weights_is_computed_again(tmp_path: Path, scores: list[str]) -> None:
    """Touched, copied, downloaded into a cache, twice, with another README."""
    folder = save(tmp_path / "model", llama(1))
    result = scanned(folder, tmp_path / "out")
    count = len(scores)
    assert count == MATRICES
    os.utime(folder / FILE, (1, 1))
    copy = shutil.copytree(folder, tmp_path / "copy")
    cached = save_in_hub_cache(tmp_path / "a", "org/name", llama(1))
    other = save_in_hub_cache(tmp_path / "b", "org/name", llama(1), commit="f" * 40)
    (other / "README.md").write_text("# Another card")
    for number, same in enumerate((folder, copy, cached, other, folder, copy)):
        again = scanned(same, tmp_path / f"out{number}")
        assert again.scores.metrics.keys() == result.scores.metrics.keys()
        for name in METRICS:
            ours, theirs = again.scores.metrics[name], result.scores.metrics[name]
            assert ours.values.tolist() == theirs.values.tolist()
        assert [len(values) for _, values in spectra_lengths(again)] == [1] * MATRICES
    assert len(scores) == count
    for name in ("z.weight", "other"):
        changed = llama(1)
        changed["lm_head.weight"] *= 1 + len(name)
        scanned(save(tmp_path / name, changed), tmp_path / name)
    assert len(scores) == 3 * count


def spectra_lengths(result: Result) -> list[tuple[str, list[tuple[str, object]]]]:
    return [(result.scores.layers[row], list(spectra_of(result, row))) for row in range(MATRICES)]


def test_scores_by_inode_and_times_are_found_and_moved(tmp_path: Path, scores: list[str]) -> None:
    folder = save(tmp_path / "model", llama(1))
    old = replace(scanned(folder, tmp_path / "out"), checkpoint=as_before(folder))
    count = len(scores)
    kept = sum(inspect_model(str(folder)).summary.scored.values())
    assert kept == count == MATRICES
    assert not place_of(old.checkpoint).is_file()
    assert all(len(values) == 1 for _, values in spectra_lengths(old))
    os.utime(folder / FILE, (1, 1))  # the name before is not known any more
    scanned(folder, tmp_path / "out")
    assert len(scores) == count


def test_journals_of_several_processes_move_beside_those_that_are_there(
    tmp_path: Path, scores: list[str]
) -> None:
    folder = save(tmp_path / "model", llama(1))
    scanned(folder, tmp_path / "out")
    now = journal_path(read_checkpoint(folder).fingerprint)
    second = now.with_suffix(f".rank1{now.suffix}")
    lines = now.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join(lines[4:]))
    shutil.copy(spectra_path(now), spectra_path(second))
    now.write_bytes(b"".join(lines[:4]))
    former = place_of(as_before(folder))
    shutil.copy(former, tmp_path / "kept")
    assert sum(inspect_model(str(folder)).summary.scored.values()) == MATRICES
    assert not former.is_file() and len(journals(now)) == 1 + 2
    shutil.copy(tmp_path / "kept", former)  # by an older version of the program
    inspect_model(str(folder))
    assert not former.is_file() and len(journals(now)) == 1 + 3
    count = len(scores)
    assert all(len(values) == 1 for _, values in spectra_lengths(scanned(folder, tmp_path / "out")))
    assert len(scores) == count


def test_what_a_running_scan_writes_stays(tmp_path: Path, scores: list[str]) -> None:
    folder = save(tmp_path / "model", llama(1))
    scanned(folder, tmp_path / "out")
    former = place_of(as_before(folder))
    with ScanLock(former) as lock:
        assert lock.take()
        assert not inspect_model(str(folder)).summary.scored
        assert former.is_file()
    assert inspect_model(str(folder)).summary.scored


def test_what_cannot_be_moved_stays(
    tmp_path: Path, scores: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model", llama(1))
    scanned(folder, tmp_path / "out")
    former = place_of(as_before(folder))

    def move(path: Path, to: Path) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "move", move)
        assert not inspect_model(str(folder)).summary.scored
    assert former.is_file()
    assert inspect_model(str(folder)).summary.scored


def test_nothing_is_noted_of_a_plain_folder(tmp_path: Path) -> None:
    inspect_model(str(save(tmp_path / "model", llama(1))))
    assert not (cache_dir() / "identities").exists()
    checkpoint = replace(read_checkpoint(tmp_path / "model"), identity=Identity())
    moving.take_over(checkpoint)
    assert not (cache_dir() / "identities").exists()
