"""Nothing is lost: resuming, torn journals, failed layers, full disks."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.events import ScanEnded, ScanNote
from spectrum_tui.core.files import SCORES_FOLDER
from spectrum_tui.core.journal.journal import read_journal, sealed
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import MatrixValues, Spectrum
from spectrum_tui.core.settings import Settings
from tests import checkpoints, oracle
from tests.checkpoints import Tensors, llama, save
from tests.scans import (
    failures_of,
    is_matrix,
    journal_of,
    layers_of,
    resumed,
    run,
    scores_of,
    source_of,
)


def touched(folder: Path) -> Path:
    path = folder / "model.safetensors"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    return path


def test_a_changed_file_is_scanned_anew(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(1))
    old = scores_of(run(folder, only=is_matrix))
    count = len(computed)
    touched(folder)
    assert resumed(run(folder, only=is_matrix)) == old.keys()
    assert len(computed) == count
    changed = llama(1)
    changed["model.layers.0.mlp.up_proj.weight"][0] *= 3
    save(folder, changed)
    touched(folder)
    new = scores_of(run(folder, only=is_matrix))
    assert len(computed) == 2 * count
    assert {k for k in new if new[k] != old[k]} == {"model.layers.0.mlp.up_proj"}


def test_a_file_of_other_weights_is_not_replaced_without_a_word(tmp_path: Path) -> None:
    """Two runs of a training have checkpoints of one name."""
    out = tmp_path / "out"

    def told(run: str, scale: float) -> list[str]:
        tensors = {name: tensor * scale for name, tensor in llama(1).items()}
        tensors["model.layers.0.mlp.up_proj.weight"][0] *= scale
        folder = save(tmp_path / run / "checkpoint-500", tensors)
        events = run_scan(Settings(model=str(folder), device="cpu", output_dir=str(out)))
        return [event.text for event in events if isinstance(event, ScanNote)]

    assert not told("run1", 1.0)
    (replaced,) = told("run2", 3.0)
    assert "snr_results_checkpoint-500.json held the scores of other weights" in replaced
    assert not told("run2", 3.0)
    (file,) = (out / SCORES_FOLDER).iterdir()
    file.write_text(file.read_text(encoding="utf-8").replace("1.0", "2.0"), encoding="utf-8")
    (replaced,) = told("run2", 3.0)
    assert "not known as those of these weights" in replaced


def test_types_that_leave_a_file_are_named_and_their_scores_kept(
    tmp_path: Path, computed: list[str]
) -> None:
    folder = save(tmp_path / "m", llama(1))

    def told(*types: str) -> list[str]:
        settings = Settings(model=str(folder), device="cpu", types=types)
        events = run_scan(replace(settings, output_dir=str(tmp_path / "out")))
        return [event.text for event in events if isinstance(event, ScanNote)]

    assert not told("mlp.up_proj", "mlp.down_proj", "self_attn.q_proj")
    (left_out,) = told("mlp.up_proj")
    assert "snr_results_m.json held 2 more types (" in left_out
    assert "mlp.down_proj" in left_out and "mlp.up_proj" not in left_out
    count = len(computed)
    assert not told("mlp.up_proj", "mlp.down_proj", "self_attn.q_proj")
    assert len(computed) == count


def test_another_model_of_the_same_names_is_not_resumed_from(
    tmp_path: Path, computed: list[str]
) -> None:
    run(save(tmp_path / "a", llama(1)))
    events = run(save(tmp_path / "b", llama(1, hidden=64)), only=is_matrix)
    assert not resumed(events)


def test_fresh_computes_everything_again(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(1))
    run(folder, only=is_matrix)
    count = len(computed)
    events = run(folder, only=is_matrix, fresh=True)
    assert len(computed) == 2 * count
    assert not resumed(events)


def test_afresh_the_scores_of_others_stay_and_what_is_left_is_gone_on_with(
    tmp_path: Path, computed: list[str]
) -> None:
    folder = save(tmp_path, llama(3))
    run(folder, only=is_matrix)
    names = read_journal(journal_of(folder)).keys()
    up = [f"model.layers.{i}.mlp.up_proj" for i in range(3)]
    since = time.time()
    for before, now in (([], up[:1]), (up[:1], up), (up, up)):
        computed.clear()
        run(folder, only=lambda x, now=now: x.name in now, since=since)  # type: ignore[misc]
        assert sorted(computed) == [f"{name}.weight" for name in now if name not in before]
        entries = read_journal(journal_of(folder))
        assert entries.keys() == names
        assert sorted(name for name in names if entries[name].made >= since) == now


def test_other_types_later_keep_what_was_scored(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(2))
    run(folder, only=lambda x: x.type == "mlp.up_proj")
    assert len(computed) == 2
    run(folder, only=lambda x: x.type.startswith("mlp."))
    assert len(computed) == 6
    assert len(read_journal(journal_of(folder))) == 6


TORN = [b'{"layer": "model.layers.0.mlp.up_pr', b"", b"\xff\xfe\x00", b"[" * 50_000]
FOREIGN = [b"null", b"[]", b"{}"]


@pytest.mark.parametrize("torn", TORN, ids=["half", "nothing", "bytes", "deep"])
def test_a_torn_last_line_costs_one_layer(torn: bytes, tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(1))
    run(folder, only=is_matrix)
    journal, count = journal_of(folder), len(computed)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + torn)
    computed.clear()
    run(folder, only=is_matrix)
    assert len(computed) == 1
    assert len(read_journal(journal)) == count  # the new line was not glued to the torn one


@pytest.mark.parametrize("line", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_line_is_passed_over(line: bytes, tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(1))
    first = scores_of(run(folder, only=is_matrix))
    count = len(computed)
    journal = journal_of(folder)
    journal.write_bytes(journal.read_bytes() + line + b"\n")
    assert scores_of(run(folder, only=is_matrix)) == first
    assert len(computed) == count


def test_scores_of_another_rule_are_not_reused(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, llama(1))
    run(folder, only=is_matrix)
    journal, count = journal_of(folder), len(computed)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    other = [{**line, "rule": "spectrum-0"} for line in lines]
    for line in other:
        del line["checksum"]
    journal.write_bytes(b"".join(sealed(line) + b"\n" for line in other))
    run(folder, only=is_matrix)
    assert len(computed) == 2 * count


def test_an_infinite_score_is_resumed_as_infinite(tmp_path: Path, computed: list[str]) -> None:
    folder = save(tmp_path, {"low.weight": torch.diag(torch.tensor([2.0, 1.0] + [0.0] * 14))})
    assert scores_of(run(folder)) == {"low": float("inf")}
    assert scores_of(run(folder)) == {"low": float("inf")}
    assert len(computed) == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t, n: checkpoints.spoil(t, n, float("nan")), "holds NaN or Inf"),
        (lambda t, n: checkpoints.spoil(t, n, float("inf")), "holds NaN or Inf"),
        (checkpoints.zero, "is all zero"),
    ],
    ids=["nan", "inf", "zero"],
)
def test_a_matrix_without_a_score_fails_alone(
    spoil: Callable[[Tensors, str], Tensors], reason: str, tmp_path: Path
) -> None:
    bad = "model.layers.0.self_attn.q_proj"
    events = run(save(tmp_path, spoil(llama(1), bad)))
    assert failures_of(events) == {bad: reason}
    assert len(scores_of(events)) == 7 + 3 + 2 - 1
    assert bad not in read_journal(journal_of(tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory.\nTried to allocate"),
        MemoryError(),
        RuntimeError(""),
        ZeroDivisionError("float division by zero"),
        KeyError("weight"),
        torch.linalg.LinAlgError("linalg.eigh: did not converge\nin 30 sweeps"),  # type: ignore[attr-defined]
        OverflowError("\n"),
    ],
    ids=repr,
)
def test_whatever_is_wrong_with_one_matrix_fails_that_layer_with_a_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = svd.singular_values

    def fail_on_head(
        values: MatrixValues, rows: int, columns: int, device: str, precision: str
    ) -> Spectrum:
        if source_of(values).name == "lm_head.weight":
            raise error
        return real(values, rows, columns, device, precision)

    monkeypatch.setattr(svd, "singular_values", fail_on_head)
    events = run(save(tmp_path, llama(1)), only=is_matrix)
    (reason,) = failures_of(events).values()
    assert reason
    assert "\n" not in reason
    if not isinstance(error, RuntimeError | MemoryError):
        assert reason.startswith(f"unexpected {type(error).__name__}")
    assert len(scores_of(events)) == 8
    assert isinstance(events[-1], ScanEnded)
    assert (events[-1].reason, events[-1].failed) == ("finished", 1)


NO_SIGNAL = {
    "orthonormal rows and zeros": torch.cat((torch.eye(16, 32), torch.zeros(16, 32))),
    "diagonal": torch.diag(torch.tensor([1.0, 0.95, 0.1, 0.05])),
}


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("kind", NO_SIGNAL)
def test_a_matrix_without_a_value_above_the_threshold_scores_zero(
    kind: str, precision: str, tmp_path: Path, computed: list[str]
) -> None:
    weight = NO_SIGNAL[kind]
    assert oracle.snr(oracle.as_matrix(weight)) == 0.0
    folder = save(tmp_path, {"flat.weight": weight, "other.weight": torch.randn(8, 8)})
    events = run(folder, precision=precision)
    assert scores_of(events)["flat"] == 0.0
    assert not failures_of(events)
    count = len(computed)
    assert scores_of(run(folder, precision=precision)) == scores_of(events)
    assert len(computed) == count  # the 0.0 is in the journal like any other


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_full_disk_stops_the_scan_and_keeps_everything_before(
    batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[str]
) -> None:
    folder = save(tmp_path, llama(3))
    real = os.fsync
    synced = 0

    def full_after_six(handle: int) -> None:
        nonlocal synced
        synced += stat.S_ISREG(os.fstat(handle).st_mode)  # folders are synced as well
        if synced > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr("os.fsync", full_after_six)
    checkpoint = read_checkpoint(folder)
    layers = [x for x in layers_of(checkpoint) if is_matrix(x)]
    plan = make_plan(checkpoint, layers, device="cpu", batch_size=batch_size)
    threads, torch_threads = threading.active_count(), torch.get_num_threads()
    with pytest.raises(OutputError, match="No space left"):
        list(scan(plan))
    assert torch.get_num_threads() == torch_threads
    assert threading.active_count() == threads  # none is inside torch when the process ends
    assert len(read_journal(plan.journal)) >= 6
    monkeypatch.setattr("os.fsync", real)
    computed.clear()
    kept = len(read_journal(plan.journal))
    assert isinstance(list(scan(plan))[-1], ScanEnded)
    assert len(computed) == len(layers) - kept


_FILL = """
import resource, sys
from pathlib import Path
from spectrum_tui.core.journal.journal import Entry, Journal
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sure = 0
with Journal(Path(sys.argv[1])) as journal:
    try:
        for i in range(100):
            journal.append(Entry(layer=f"layer.{i}", metrics=ONE_DIMENSIONAL, seconds=0.5))
            sure += 1
    except OutputError:
        print(sure)
"""


def test_an_append_that_came_up_short_is_not_called_written(tmp_path: Path) -> None:
    """At a real limit the last write is cut rather than refused."""
    path = tmp_path / "j.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(path)], capture_output=True, text=True, check=True
    )
    assert path.stat().st_size == 2000
    assert len(read_journal(path)) == int(done.stdout) > 3


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError):
        run(save(tmp_path / "m", llama(1)))
