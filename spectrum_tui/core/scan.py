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
    LayerRescored,
    ScanEnded,
    ScanEvent,
    ScanStarted,
)
from spectrum_tui.core.journal import Entry, Journal, journal_path, read_journal
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.ordering import undecided_in_groups
from spectrum_tui.core.scan_work import LayerWork, Workers
from spectrum_tui.core.spectra import EXACT, FAST


@dataclass(frozen=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`."""

    layers: tuple[Layer, ...]
    journal: Path
    device: str
    batch_size: int
    notes: tuple[str, ...] = ()
    fresh: bool = False
    precision: str = EXACT

    @property
    def cost(self) -> float:
        """Work of all layers, in the units of `spectra.cost`."""
        return sum(layer.cost for layer in self.layers)


def make_plan(
    checkpoint: Checkpoint,
    layers: Sequence[Layer],
    *,
    device: str = "auto",
    batch_size: int = 0,
    fresh: bool = False,
    precision: str = "auto",
) -> ScanPlan:
    """Settle device, batch size and precision for scoring `layers`.

    Raises InputError for a device that does not exist.
    """
    name, notes = choose_device(device)
    workers = batch_size or default_batch_size(name)
    journal = journal_path(checkpoint.fingerprint)
    settled = choose_precision(precision, name)
    if settled == FAST:
        notes = (*notes, "Fast precision: float32, and float64 wherever a rank depends on it.")
    return ScanPlan(tuple(layers), journal, name, workers, notes, fresh, settled)


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


def choose_precision(wanted: str, device: str) -> str:
    """`exact` or `fast`; for "auto" that is `exact` wherever float64 is not crippled.

    GPUs for computing (compute capability x.0: P100, V100, A100, H100, B200) do float64 at half
    the rate of float32; those for games at a 32nd or a 64th.
    """
    if wanted != "auto":
        return wanted
    if not device.startswith("cuda"):
        return EXACT
    import torch

    _, minor = torch.cuda.get_device_capability(device)
    return EXACT if minor == 0 else FAST


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
    known = {} if plan.fresh else _known(plan)
    types = dict(Counter(layer.type for layer in plan.layers))
    yield ScanStarted(len(plan.layers), plan.cost, types, plan.device, plan.batch_size, plan.notes)
    done = failed = 0
    works = [LayerWork(layer, known) for layer in plan.layers]
    for work in works:
        yield from work.resumed()
        done += work.is_complete
    with Journal(plan.journal, fresh=plan.fresh) as journal:
        for event in _run(plan, works, journal, plan.precision, cancelled):
            done += isinstance(event, LayerDone)
            failed += isinstance(event, LayerFailed)
            yield event
        if plan.precision == FAST:
            yield from _settle_order(plan, works, journal, cancelled)
    remaining = len(plan.layers) - done - failed
    yield ScanEnded("stopped" if remaining else "finished", done, failed, remaining)


def _known(plan: ScanPlan) -> dict[str, Entry]:
    """What the journal has that is good enough for this scan."""
    entries = read_journal(plan.journal)
    return {name: e for name, e in entries.items() if plan.precision == FAST or not e.error}


def _run(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    journal: Journal,
    precision: str,
    cancelled: Callable[[], bool],
) -> Iterator[ScanEvent]:
    """Score what the layers lack."""
    todo = [work for work in works if not work.is_complete]
    workers = Workers(
        todo,
        journal,
        device=plan.device,
        precision=precision,
        workers=plan.batch_size,
        threads=_threads(plan),
    )
    yield from workers.run(cancelled)


def _settle_order(
    plan: ScanPlan, works: Sequence[LayerWork], journal: Journal, cancelled: Callable[[], bool]
) -> Iterator[LayerRescored]:
    """Score in float64 what lies too near to another layer of its type to be ranked."""
    scored = [work for work in works if work.is_complete and not work.problem]
    close = undecided_in_groups((work.layer.type, work.interval) for work in scored)
    again = [LayerWork(scored[i].layer, {}) for i in close]
    for event in _run(plan, again, journal, EXACT, cancelled):
        if isinstance(event, LayerDone):
            yield LayerRescored(event)


def _threads(plan: ScanPlan) -> int:
    """Torch threads of each worker: the cores of a CPU scan are shared, a GPU needs none."""
    if plan.device != "cpu":
        return 0
    matrices = sum(layer.matrix_count for layer in plan.layers)
    return max(1, default_batch_size("cpu") // max(1, min(plan.batch_size, matrices)))
