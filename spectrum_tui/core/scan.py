"""The scan: a generator of events that scores a model's layers, several at a time.

Knows nothing of who listens. Every score is in the journal before its event is yielded; a score
that the journal already has is not computed again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core.checkpoint import Checkpoint
from spectrum_tui.core.devices import pick_devices, share_of
from spectrum_tui.core.distributed import ALONE, Group
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    ScanEnded,
    ScanEvent,
    ScanStarted,
)
from spectrum_tui.core.journal import (
    Entry,
    Journal,
    discard_journals,
    journal_path,
    rank_journal,
    read_journal,
)
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.numbers import size
from spectrum_tui.core.resources import SHARE, cores, free_memory, how_many_fit
from spectrum_tui.core.scan_work import CPU, LayerWork, Workers


@dataclass(frozen=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`.

    `batch_size` is for each of the `devices`, which are this process's; `journal` is that of the
    checkpoint, for whatever number of processes.
    """

    layers: tuple[Layer, ...]
    journal: Path
    devices: tuple[str, ...]
    batch_size: int
    notes: tuple[str, ...] = ()
    fresh: bool = False
    group: Group = ALONE

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
    group: Group = ALONE,
) -> ScanPlan:
    """Settle devices and batch size for scoring `layers`; raises InputError for a bad device."""
    found, notes = choose_devices(device)
    devices = share_of(found, group.local_rank, group.local_size)
    if not batch_size:
        sharing = -(-group.local_size // len(found))  # processes on each device
        batch_size, reasons = auto_batch_size(layers, devices, sharing=sharing)
        notes += reasons
    return ScanPlan(
        tuple(layers),
        journal_path(checkpoint.fingerprint),
        devices,
        batch_size,
        notes,
        fresh,
        group,
    )


def available_devices() -> tuple[str, ...]:
    """The devices of this machine by torch's names, the CPU first."""
    import torch

    devices = [CPU]
    if torch.cuda.is_available():
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return tuple(devices)


def choose_devices(wanted: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(devices to compute on, notes for the user); raises InputError where one does not exist."""
    devices = pick_devices(wanted, available_devices())
    if devices == ("mps",):
        return (CPU,), ("MPS has no float64: the scan runs on the CPU.",)
    return devices, ()


def default_batch_size(device: str) -> int:
    """One matrix for each core (single-threaded eigenvalue solvers beat threaded ones); on a
    GPU two, so that one is read while the other computes."""
    return cores() if device == CPU else 2


def auto_batch_size(
    layers: Sequence[Layer], devices: Sequence[str], *, sharing: int = 1
) -> tuple[int, tuple[str, ...]]:
    """(how many matrices at once on each device, a note where memory decided).

    `sharing` processes have these devices' cores and memory among them.
    """
    most = max(1, default_batch_size(devices[0]) // (sharing if devices[0] == CPU else 1))
    free = min(free_memory(device) for device in devices)
    fitting = how_many_fit(layers, SHARE * free / sharing, most)
    if fitting == most:
        return most, ()
    return fitting, (f"{fitting} at a time instead of {most}: {size(free)} of memory are free.",)


def scan(plan: ScanPlan, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[ScanEvent]:
    """Score the planned layers; yields ScanStarted, then each layer's events, then ScanEnded.

    A layer of several matrices reports each as MatrixDone before its own LayerDone. After
    `cancelled()` turns true, matrices in work are finished and nothing new is begun.
    In a group of processes each scores its share, and each yields the events of all.
    Raises OutputError when the journal cannot be written; everything before is kept.
    """
    start, known = _agree(plan)
    yield start
    done = failed = 0
    todo: list[LayerWork] = []
    for layer in plan.layers:
        work = LayerWork(layer, known)
        yield from work.resumed()
        if work.is_complete:
            done += 1
        else:
            todo.append(work)
    share = [todo[i] for i in plan.group.share([work.cost for work in todo])]
    with Journal(rank_journal(plan.journal, plan.group.rank)) as journal:
        workers = Workers(
            share,
            journal,
            devices=plan.devices,
            workers=plan.batch_size,
            threads=_threads(plan, share),
        )
        for event in plan.group.merged(workers.run(cancelled)):
            done += isinstance(event, LayerDone)
            failed += isinstance(event, LayerFailed)
            yield event
    notes = tuple(note for part in plan.group.gather(lambda: workers.notes) for note in part)
    remaining = len(plan.layers) - done - failed
    yield ScanEnded("stopped" if remaining else "finished", done, failed, remaining, notes)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process brings to a scan; `layers` is a digest of what it was planned of."""

    layers: str
    devices: tuple[str, ...]
    in_work: int
    known: Mapping[str, Entry]


def _agree(plan: ScanPlan) -> tuple[ScanStarted, dict[str, Entry]]:
    """How all processes start, and every score that any machine has of earlier scans.

    Raises ScanError where they do not have the same model.
    """
    parts = plan.group.gather(lambda: _part_of(plan))
    for rank, part in enumerate(parts):
        if part.layers != parts[0].layers:
            raise ScanError(
                f"Process {rank} finds other layers than process 0.",
                "Give every machine the same model and the same --types.",
            )
    devices = ", ".join(dict.fromkeys(device for part in parts for device in part.devices))
    start = ScanStarted(
        len(plan.layers),
        plan.cost,
        dict(Counter(layer.type for layer in plan.layers)),
        devices if len(parts) == 1 else f"{devices} in {len(parts)} processes",
        sum(part.in_work for part in parts),
        plan.notes,
    )
    return start, {name: entry for part in parts for name, entry in part.known.items()}


def _part_of(plan: ScanPlan) -> _Part:
    """One process of each machine reads the journals that lie there, or discards them; nothing
    is written to them before all have done so."""
    known: dict[str, Entry] = {}
    if plan.group.leads_machine:
        if plan.fresh:
            discard_journals(plan.journal)
        else:
            known = read_journal(plan.journal)
    layers = repr([(layer.name, layer.shape, layer.matrix_count) for layer in plan.layers])
    digest = hashlib.sha256(layers.encode()).hexdigest()
    return _Part(digest, plan.devices, plan.batch_size * len(plan.devices), known)


def _threads(plan: ScanPlan, share: Sequence[LayerWork]) -> int:
    """Torch threads of each worker: the cores of a CPU scan are shared, a GPU needs none."""
    if plan.devices[0] != CPU:
        return 0
    matrices = sum(len(work.missing) for work in share)
    mine = cores() // plan.group.local_size
    return max(1, mine // max(1, min(plan.batch_size, matrices)))
