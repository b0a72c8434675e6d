"""Torch's MKL for a long scan on a CPU, where it was measured to be faster."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spectrum_tui.core.events import ScanStarted
from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.scanning import libraries
from spectrum_tui.core.scanning.libraries import compare, times_as_fast
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import EXACT, FAST, TORCH_ON_CPU
from tests.checkpoints import llama, save
from tests.scans import is_matrix, journal_of, run, scores_of

LONG = 1e15
"""Work of hours."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands that measure, which say that torch is 1.4 times as fast."""
    commands: list[Sequence[str]] = []

    def answer(command: Sequence[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(stdout="1.4")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return commands


def test_a_measurement_is_kept_for_the_next_scans(asked: list[Sequence[str]]) -> None:
    assert [times_as_fast(LONG, 896, EXACT) for _ in range(3)] == [1.4] * 3
    assert len(asked) == 1
    assert asked[0][-2:] == ["896", EXACT]
    times_as_fast(LONG, 896, FAST)
    times_as_fast(LONG, 4096, EXACT)
    assert [command[-2:] for command in asked[1:]] == [["896", FAST], ["1024", EXACT]]


def test_neither_short_scans_nor_other_cpus_are_measured(
    asked: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert times_as_fast(1e9, 896, EXACT) == 0.0
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert times_as_fast(LONG, 896, EXACT) == 0.0
    assert not asked


@pytest.mark.parametrize("said", ["", "nonsense", "NaN", "-1", "[1]", '"1"', "1e300"])
def test_what_is_no_answer_counts_as_none(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    assert times_as_fast(LONG, 64, EXACT) == 0.0


def test_a_process_that_fails_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(subprocess, "run", fail)
    assert times_as_fast(LONG, 64, EXACT) == 0.0


@pytest.mark.skipif(not torch._C.has_mkl, reason="this torch has no MKL")
@pytest.mark.parametrize("precision", [EXACT, FAST])
def test_both_are_measured_in_turn(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = svd.gram_singular_values

    def spy(matrix: svd.StoredMatrix, device: str, precision: str) -> object:
        seen.append(device)
        return real(matrix, device, precision)

    monkeypatch.setattr(svd, "gram_singular_values", spy)
    assert 0.01 < compare(96, precision) < 100
    assert seen == ["cpu", TORCH_ON_CPU] * 4


def test_without_mkl_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "has_mkl", False)
    assert compare(96, EXACT) == 0.0


@pytest.mark.parametrize("gain", [1.1, 1.15, 1.4])
def test_a_scan_takes_the_faster_one_says_so_and_scores_the_same(
    gain: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(2))
    before = scores_of(run(folder, only=is_matrix))
    journal_of(folder).unlink()
    used: set[str] = set()
    real = svd.singular_values

    def spy(
        values: svd.MatrixValues, rows: int, columns: int, device: str, precision: str
    ) -> object:
        used.add(device)
        return real(values, rows, columns, device, precision)

    monkeypatch.setattr(svd, "singular_values", spy)
    monkeypatch.setattr(libraries, "times_as_fast", lambda *_: gain)
    events = run(folder, only=is_matrix)
    assert isinstance(events[0], ScanStarted)
    taken = gain >= libraries.GAIN
    said = f"Computed with torch's MKL: {gain:.1f} times as fast here as OpenBLAS."
    assert (said in events[0].notes) == taken
    assert used == {TORCH_ON_CPU if taken else "cpu"}
    assert scores_of(events) == pytest.approx(before, rel=1e-12)


def test_the_process_answers(tmp_path: Path) -> None:
    """In a folder with a torch.py of somebody's."""
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")
    command = [sys.executable, "-P", "-m", "spectrum_tui.core.scanning.libraries", "64", EXACT]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert libraries._number(done.stdout) is not None
