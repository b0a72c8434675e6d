"""The threads of a scan on several devices, and what a scan does when the memory of one runs out.

Devices here are names: what is computed on "cuda:0" is computed on the CPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import ScanEnded, ScanEvent, ScanStarted
from spectrum_tui.core.journal.journal import read_journal
from spectrum_tui.core.scanning import scan as scan_module
from spectrum_tui.core.scanning import workers
from spectrum_tui.core.scanning.layers import memory_need
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import MatrixValues, Spectrum
from tests.checkpoints import llama, save
from tests.scans import failures_of, is_matrix, journal_of, layers_of, run, scores_of, source_of

Refuse = Callable[[str, str, int], bool]
"""(weight, device, matrices in work on it) -> whether memory runs out."""


class Machine:
    """Devices by name, with a memory that runs out when `refuse` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.refuse: Refuse = lambda weight, device, in_work: False
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        self.computed: list[tuple[str, str]] = []
        self.in_work: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.released: list[str] = []
        self.loaded: list[tuple[str, int]] = []
        self.meeting: threading.Barrier | None = None
        self._lock = threading.Lock()
        self._real = svd.singular_values
        monkeypatch.setattr(svd, "singular_values", self._singular_values)
        monkeypatch.setattr(workers, "current", lambda device: nullcontext())
        monkeypatch.setattr(workers, "release", self.released.append)
        monkeypatch.setattr(workers, "load_solvers", self._load_solvers)

    def scan(self, folder: Path, *devices: str, batch_size: int) -> list[ScanEvent]:
        checkpoint = read_checkpoint(folder)
        layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
        plan = make_plan(checkpoint, layers, device="cpu", batch_size=batch_size)
        return list(scan(replace(plan, devices=devices)))

    def _load_solvers(self, device: str) -> None:
        self.loaded.append((device, self.in_work.total() + len(self.computed)))

    def _singular_values(
        self, values: MatrixValues, rows: int, columns: int, device: str, precision: str
    ) -> Spectrum:
        name = source_of(values).name
        with self._lock:
            self.in_work[device] += 1
            in_work = self.in_work[device]
            self.most[device] = max(self.most[device], in_work)
        try:
            if self.meeting is not None:
                self.meeting.wait(10)
            if self.refuse(name, device, in_work):
                raise self.error
            spectrum = self._real(values, rows, columns, "cpu", precision)
            self.computed.append((device, name))
            return spectrum
        finally:
            with self._lock:
                self.in_work[device] -= 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def ended(events: list[ScanEvent]) -> ScanEnded:
    assert isinstance(events[-1], ScanEnded)
    return events[-1]


def test_two_devices_split_the_work_and_change_no_score(tmp_path: Path, machine: Machine) -> None:
    """Each matrix waits for one on the other device, so that both must be at work."""
    folder = save(tmp_path, llama(2))
    one = scores_of(run(folder, batch_size=1, only=is_matrix))
    journal_of(folder).unlink()
    machine.computed.clear()
    machine.meeting = threading.Barrier(2)
    events = machine.scan(folder, "cuda:0", "cuda:1", batch_size=1)
    assert scores_of(events) == one
    assert Counter(device for device, _ in machine.computed) == {"cuda:0": 8, "cuda:1": 8}
    assert machine.most == {"cpu": 1, "cuda:0": 1, "cuda:1": 1}
    assert len({name for _, name in machine.computed}) == 16
    started = events[0]
    assert isinstance(started, ScanStarted)
    assert (started.device, started.batch_size) == ("cuda:0, cuda:1", 2)
    assert ended(events).notes == ()


def test_solvers_of_gpus_are_loaded_before_two_threads_ask_for_them(
    tmp_path: Path, machine: Machine
) -> None:
    machine.scan(save(tmp_path, llama(1)), "cuda:0", "cuda:1", batch_size=2)
    assert machine.loaded == [("cuda:0", 0), ("cuda:1", 0)]


def test_two_real_devices(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(2))
    one = scores_of(run(folder, batch_size=1, only=is_matrix))
    journal_of(folder).unlink()
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
    plan = make_plan(checkpoint, layers, device="cpu", batch_size=2)
    assert scores_of(list(scan(replace(plan, devices=("cpu", "cpu"))))) == one


def test_more_workers_than_cores_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "cores", lambda: 2)
    folder = save(tmp_path, llama(4))
    events = run(folder, batch_size=8)
    assert (ended(events).reason, ended(events).failed) == ("finished", 0)
    assert len(scores_of(events)) == len(layers_of(read_checkpoint(folder)))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_full_device_gets_a_smaller_batch(most: int, tmp_path: Path, machine: Machine) -> None:
    """More than `most` at once do not fit: every matrix is scored on the device all the same."""
    folder = save(tmp_path, llama(4))
    expected = scores_of(run(folder, only=is_matrix))
    journal_of(folder).unlink()
    machine.computed.clear()
    machine.refuse = lambda weight, device, in_work: in_work > most
    events = machine.scan(folder, "cuda:0", batch_size=8)
    assert scores_of(events) == expected
    assert {device for device, _ in machine.computed} == {"cuda:0"}
    assert Counter(name for _, name in machine.computed).most_common(1)[0][1] == 1
    assert ended(events).failed == 0


@pytest.mark.parametrize(
    ("failing", "said"), [(1, "1 matrix was tried again"), (5, "5 matrices were tried again")]
)
def test_the_batch_is_halved_and_said(
    failing: int, said: str, tmp_path: Path, machine: Machine
) -> None:
    """Eight meet and some do not fit: four at once go on, however many failed together."""
    folder = save(tmp_path, llama(4))
    machine.meeting = threading.Barrier(8)
    left = iter(range(failing))

    def refuse(weight: str, device: str, in_work: int) -> bool:
        machine.meeting = None
        return next(left, None) is not None

    machine.refuse = refuse
    events = machine.scan(folder, "cuda:0", batch_size=8)
    assert ended(events).notes == (f"cuda:0 ran out of memory: {said}, 4 at a time.",)
    assert machine.released == ["cuda:0"] * failing
    assert len(scores_of(events)) == 4 * 7 + 2


def test_what_never_fits_a_gpu_is_computed_on_the_cpu(tmp_path: Path, machine: Machine) -> None:
    folder = save(tmp_path, llama(2))
    large = {"lm_head.weight", "model.embed_tokens.weight"}
    machine.refuse = lambda weight, device, in_work: weight in large and device != "cpu"
    events = machine.scan(folder, "cuda:0", "cuda:1", batch_size=2)
    assert {name for device, name in machine.computed if device == "cpu"} == large
    assert len(scores_of(events)) == 16
    assert machine.most["cpu"] == 1
    assert ended(events).failed == 0
    moved = re.findall(r"(\d+) matri(?:x was|ces were) computed", " ".join(ended(events).notes))
    assert sum(map(int, moved)) == 2


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: no")], ids=repr
)
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_fits_nowhere_fails_alone(
    device: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(2))
    machine = Machine(monkeypatch, error)
    machine.refuse = lambda weight, device, in_work: weight == "lm_head.weight"
    events = machine.scan(folder, device, batch_size=4)
    ((layer, reason),) = failures_of(events).items()
    assert layer == "lm_head"
    assert reason.startswith("not enough memory")
    assert "\n" not in reason
    assert len(scores_of(events)) == 15
    assert "lm_head" not in read_journal(journal_of(folder))
    machine.refuse = lambda weight, device, in_work: False
    machine.computed.clear()
    assert "lm_head" in scores_of(machine.scan(folder, device, batch_size=4))
    assert machine.computed == [(device, "lm_head.weight")]


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_no_memory_is_there_for_is_not_begun(
    device: str, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system would end the process: it gives memory away that it does not have."""
    monkeypatch.setattr(workers, "known_free", lambda: 2**30)
    real = memory_need
    large = lambda layer: 2**40 if layer.name == "lm_head" else real(layer)  # noqa: E731
    monkeypatch.setattr(workers, "memory_need", large)
    machine.refuse = lambda weight, device, in_work: weight == "lm_head.weight" and device != "cpu"
    events = machine.scan(save(tmp_path, llama(2)), device, batch_size=1)
    reason = "not enough memory for it: it needs about 1.10 TB, and 1.07 GB are free"
    assert failures_of(events) == {"lm_head": reason}
    assert len(scores_of(events)) == 15
    assert ("cpu", "lm_head.weight") not in machine.computed
    assert ended(events).notes == ()


def test_a_scan_without_any_memory_ends(tmp_path: Path, machine: Machine) -> None:
    machine.refuse = lambda weight, device, in_work: True
    events = machine.scan(save(tmp_path, llama(1)), "cuda:0", "cuda:1", batch_size=8)
    assert ended(events).failed == 9
    assert ended(events).reason == "finished"


_SMALL_MEMORY = """
import resource, sys
from pathlib import Path
from tests.scans import failures_of, run, scores_of

def used():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

small, model = map(Path, sys.argv[1:])
run(small, batch_size=2)  # threads and libraries are there before the limit is
free, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used() + 28 * 2**20, hard))
events = run(model, batch_size=2, fresh=True)
resource.setrlimit(resource.RLIMIT_AS, (free, hard))
print(*failures_of(events), len(scores_of(events)))
print(*failures_of(events).values())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_matrix_too_large_for_the_memory_of_the_process(tmp_path: Path) -> None:
    """28 MB are left for a Gram matrix of 72 MB, and a block of that size is never taken from
    what malloc keeps."""
    small = save(tmp_path / "small", llama(1))
    model = save(tmp_path / "model", {**llama(1), "large.weight": torch.randn(3000, 3000)})
    run = subprocess.run(
        [sys.executable, "-c", _SMALL_MEMORY, str(small), str(model)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    counts, reason = run.stdout.splitlines()
    assert counts == "large 12"
    assert reason.startswith("not enough memory even for it alone on the CPU: it needs about")


@pytest.mark.parametrize("lost", [True, False])
def test_a_gpu_that_has_stopped_working_ends_the_scan_and_a_bad_matrix_does_not(
    lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = RuntimeError("an illegal memory access was encountered\nCompile with ...")
    machine = Machine(monkeypatch, fault)
    machine.refuse = lambda weight, device, in_work: weight.endswith("o_proj.weight")
    real = torch.zeros

    def zeros(*size: int, device: str = "cpu", **options: object) -> torch.Tensor:
        if device != "cpu" and lost:
            raise fault
        return real(*size, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "zeros", zeros)
    folder = save(tmp_path, llama(2))
    if not lost:
        events = machine.scan(folder, "cuda:0", batch_size=1)
        assert failures_of(events).keys() == {
            f"model.layers.{i}.self_attn.o_proj" for i in range(2)
        }
        return
    with pytest.raises(ScanError, match=r"cuda:0 has stopped working \(an illegal"):
        machine.scan(folder, "cuda:0", batch_size=1)
    kept = read_journal(journal_of(folder))
    assert kept.keys() == {name.removesuffix(".weight") for _, name in machine.computed}
    assert 0 < len(kept) < 14


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError(
            "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate`"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        OSError("libcusolver.so.11: cannot open shared object file: No such file or directory"),
        ImportError("/x/libtorch_cuda_linalg.so: undefined symbol: cusolverDnXsyevd"),
    ],
    ids=lambda fault: str(fault)[:30],
)
def test_what_a_library_of_a_gpu_fails_at_is_computed_on_the_cpu_once(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, fault)
    machine.refuse = lambda weight, device, in_work: (
        weight.endswith("o_proj.weight") and device != "cpu"
    )
    real = torch.zeros

    def zeros(*size: int, device: str = "cpu", **options: object) -> torch.Tensor:
        if device != "cpu" and "no kernel image" in str(fault):
            raise fault
        return real(*size, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "zeros", zeros)
    folder = save(tmp_path, llama(2))
    expected = scores_of(run(folder, only=is_matrix))
    journal_of(folder).unlink()
    machine.computed.clear()
    events = machine.scan(folder, "cuda:0", batch_size=4)
    assert not failures_of(events)
    assert scores_of(events) == expected
    moved = [name for device, name in machine.computed if device == "cpu"]
    assert sorted(moved) == [f"model.layers.{i}.self_attn.o_proj.weight" for i in range(2)]
    note = f"cuda:0: {fault}: 2 matrices were computed on the CPU."
    assert ended(events).notes == (note,)
