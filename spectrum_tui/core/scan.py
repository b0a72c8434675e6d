"""The scan: a generator of events that scores a model's layers, several at a time.

Knows nothing of who listens. Every score is in the journal before its event is yielded; a score
that the journal already has is not computed again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core.checkpoint import Checkpoint
from spectrum_tui.core.devices import pick_device
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    ScanEnded,
    ScanEvent,
    ScanStarted,
)
from spectrum_tui.core.journal import Journal, journal_path, read_journal
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.scan_work import LayerWork, Workers


@dataclass(frozen=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`."""

    layers: tuple[Layer, ...]
    journal: Path
    device: str
    batch_size: int
    notes: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def cost(self) -> float:
        """Work of all layers, in the units of `core.cost`."""
        return sum(layer.cost for layer in self.layers)


def make_plan(
    checkpoint: Checkpoint,
    layers: Sequence[Layer],
    *,
    device: str = "auto",
    batch_size: int = 0,
    fresh: bool = False,
) -> ScanPlan:
    """Settle device and batch size for scoring `layers`; raises InputError for a bad device."""
    name, notes = choose_device(device)
    workers = batch_size or default_batch_size(name)
    return ScanPlan(
        tuple(layers), journal_path(checkpoint.fingerprint), name, workers, notes, fresh
    )


def available_devices() -> tuple[str, ...]:
    """The devices of this machine by torch's names, the CPU first."""
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return tuple(devices)


def choose_device(wanted: str) -> tuple[str, tuple[str, ...]]:
    """(device to compute on, notes for the user); raises InputError where it does not exist."""
    name = pick_device(wanted, available_devices())
    if name == "mps":
        return "cpu", ("MPS has no float64: the scan runs on the CPU.",)
    return name, ()


def default_batch_size(device: str) -> int:
    """One matrix for each core (single-threaded eigenvalue solvers beat threaded ones); on a
    GPU two, so that one is read while the other computes."""
    if device != "cpu":
        return 2
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def scan(plan: ScanPlan, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[ScanEvent]:
    """Score the planned layers; yields ScanStarted, then each layer's events, then ScanEnded.

    A layer of several matrices reports each as MatrixDone before its own LayerDone. After
    `cancelled()` turns true, matrices in work are finished and nothing new is begun.
    Raises OutputError when the journal cannot be written; everything before is kept.
    """
    known = {} if plan.fresh else read_journal(plan.journal)
    types = dict(Counter(layer.type for layer in plan.layers))
    yield ScanStarted(len(plan.layers), plan.cost, types, plan.device, plan.batch_size, plan.notes)
    done = failed = 0
    todo: list[LayerWork] = []
    for layer in plan.layers:
        work = LayerWork(layer, known)
        yield from work.resumed()
        if work.is_complete:
            done += 1
        else:
            todo.append(work)
    with Journal(plan.journal, fresh=plan.fresh) as journal:
        workers = Workers(
            todo, journal, device=plan.device, workers=plan.batch_size, threads=_threads(plan)
        )
        for event in workers.run(cancelled):
            done += isinstance(event, LayerDone)
            failed += isinstance(event, LayerFailed)
            yield event
    remaining = len(plan.layers) - done - failed
    yield ScanEnded("stopped" if remaining else "finished", done, failed, remaining)


def _threads(plan: ScanPlan) -> int:
    """Torch threads of each worker: the cores of a CPU scan are shared, a GPU needs none."""
    if plan.device != "cpu":
        return 0
    matrices = sum(layer.matrix_count for layer in plan.layers)
    return max(1, default_batch_size("cpu") // max(1, min(plan.batch_size, matrices)))
