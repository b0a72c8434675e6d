"""The scan: a generator of events that scores a model's layers, several at a time.

Knows nothing of who listens. Every score is in the journal before its event is yielded; a score
that the journal already has is not computed again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from spectrum_tui.core.checkpoint.file_state import FileState, check_unchanged
from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerRescored,
    ScanEnded,
    ScanEvent,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.journal.journal import (
    Entry,
    Journal,
    JournalTail,
    best_entries,
    journal_path,
    rank_journal,
    read_entries,
)
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.numbers import counted, size
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.scanning.devices import (
    CPU,
    SHARE,
    choose_devices,
    choose_precision,
    default_batch_size,
    free_memory,
    share_of,
)
from spectrum_tui.core.scanning.distributed import ALONE, ProcessGroup
from spectrum_tui.core.scanning.following import Followed, turn
from spectrum_tui.core.scanning.layers import (
    LayerWork,
    gram_bytes,
    how_many_fit,
    memory_need,
)
from spectrum_tui.core.scanning.precision import undecided_in_groups
from spectrum_tui.core.scanning.workers import Workers
from spectrum_tui.core.scoring.svd import EXACT, FAST

FOLLOWS = "its scores are shown as they come, and layers that it leaves are scored here"


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`.

    `batch_size` is for each of the `devices`, which are this process's; `journal` is that of the
    checkpoint, for whatever number of processes; `files` are those that the layers lie in, as
    they were when they were inspected. Scores older than `since` are computed again, and stay in
    the journal until then.
    """

    layers: tuple[Layer, ...]
    journal: Path
    devices: tuple[str, ...]
    batch_size: int
    notes: tuple[str, ...] = ()
    since: float = 0.0
    group: ProcessGroup = ALONE
    precision: str = EXACT
    files: Mapping[str, FileState] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Work of all layers, in the units of `svd.cost`."""
        return sum(layer.cost_in(self.precision) for layer in self.layers)


def make_plan(
    checkpoint: Checkpoint,
    layers: Sequence[Layer],
    *,
    device: str = "auto",
    batch_size: int = 0,
    since: float = 0.0,
    group: ProcessGroup = ALONE,
    precision: str = "auto",
) -> ScanPlan:
    """Settle devices, batch size and precision for scoring `layers`.

    Raises InputError for a device that does not exist.
    """
    found, notes = choose_devices(device)
    devices = share_of(found, group.local_rank, group.local_size)
    fast = any(choose_precision(precision, device) == FAST for device in devices)
    if fast:
        notes = (*notes, "Fast precision: float32, and float64 wherever a rank depends on it.")
    if not batch_size:
        sharing = -(-group.local_size // len(found))  # processes on each device
        batch_size, reasons = auto_batch_size(layers, devices, sharing=sharing)
        notes += reasons
    return ScanPlan(
        layers=tuple(layers),
        journal=journal_path(checkpoint.fingerprint),
        devices=devices,
        batch_size=batch_size,
        notes=notes,
        since=since,
        group=group,
        precision=FAST if fast else EXACT,
        files=checkpoint.states,
    )


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
    return fitting, (f"{fitting} at a time instead of {most}: {size(free)} of memory is free.",)


def scan(plan: ScanPlan, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[ScanEvent]:
    """Score the planned layers; yields ScanStarted, then each layer's events, then ScanEnded.

    A layer of several matrices reports each as MatrixDone before its own LayerDone. After
    `cancelled()` turns true, matrices in work are finished and nothing new is begun.
    In a group of processes each scores its share, and each yields the events of all.
    While another scan of this model runs, its scores are yielded as they come, without a
    LayerStarted and with 0 seconds; what it leaves when it ends is scored then.
    Raises OutputError when the journal cannot be written, ModelChangedError when a file is not
    what was inspected, so that nothing of it is written down; everything before is kept.
    """
    done = failed = 0
    state = _State()
    with ScanLock(plan.journal) as lock, closing(_events(plan, lock, state, cancelled)) as events:
        for event in events:
            done += isinstance(event, LayerDone)
            failed += isinstance(event, LayerFailed)
            yield event
    plan.group.together(lambda: check_unchanged(plan.files))
    stopped = done + failed < len(plan.layers) or state.gave_up
    yield ScanEnded("stopped" if stopped else "finished", done, failed, tuple(state.notes))


@dataclass
class _State:
    """What of a scan is in no event: notes for its end, and whether it was cancelled while another
    one was at work."""

    notes: list[str] = field(default_factory=list)
    gave_up: bool = False


def _events(
    plan: ScanPlan, lock: ScanLock, state: _State, cancelled: Callable[[], bool]
) -> Generator[ScanEvent]:
    """Everything that happens in a scan but its end."""
    holder = plan.group.gather(lambda: lock.take_soon() if plan.group.leads else "")[0]
    start, known = _agree(plan)
    yield start
    works = [LayerWork(layer, known, plan.precision) for layer in plan.layers]
    for work in works:
        yield from work.resumed()
    if holder:
        yield ScanNote(f"Another scan of this model is running ({holder}): {FOLLOWS}.")
        yield from _follow(plan, works, lock, state, cancelled)
        if state.gave_up:
            return
    with Journal(rank_journal(plan.journal, plan.group.rank)) as journal:
        yield from _run(plan, works, journal, plan.precision, state.notes, cancelled)
        if plan.precision == FAST:
            yield from _settle_order(plan, works, journal, state.notes, cancelled)


def _follow(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    lock: ScanLock,
    state: _State,
    cancelled: Callable[[], bool],
) -> Iterator[ScanEvent]:
    """Wait for the scan that has the lock, and take in what it finishes, then whatever any machine
    has."""
    followed = Followed(works)
    state.gave_up = True
    tail = JournalTail(plan.journal)

    def new_entries() -> list[Entry]:
        return list(_usable(plan, tail.new_entries()))

    for entries, ours in turn(plan.group, lock, new_entries, cancelled):
        yield from followed.take(entries)
        state.gave_up = not ours
    if state.gave_up:
        return
    found = plan.group.gather(lambda: _scores_here(plan))
    yield from followed.take(entry for known in found for entry in known.values())
    left = sum(not work.is_complete for work in works)
    yield ScanNote(f"The other scan has ended: {counted(left, 'layer')} left to score.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one process brings to a scan; `layers` is a digest of those that it plans."""

    layers: str
    precision: str
    devices: tuple[str, ...]
    in_work: int
    known: Mapping[str, Entry]


def _agree(plan: ScanPlan) -> tuple[ScanStarted, dict[str, Entry]]:
    """Return how all processes start, and every score that any machine has of earlier scans.

    Raises ScanError where they do not have the same model or precision.
    """
    parts = plan.group.gather(lambda: _part_of(plan))
    for rank, part in enumerate(parts):
        if part.layers != parts[0].layers:
            raise ScanError(
                f"Process {rank} finds different layers from process 0.",
                "Give every machine the same model and the same --types.",
            )
        if part.precision != parts[0].precision:
            raise ScanError(
                f"Process {rank} has {part.precision} precision, process 0 {parts[0].precision}.",
                "Their devices differ: give --precision exact or --precision fast.",
            )
    devices = ", ".join(dict.fromkeys(device for part in parts for device in part.devices))
    types = Counter(layer.type for layer in plan.layers)
    place = {name: i for i, name in enumerate(types)}
    start = ScanStarted(
        layers=len(plan.layers),
        cost=plan.cost,
        types=dict(types),
        device=devices if len(parts) == 1 else f"{devices} in {len(parts)} processes",
        batch_size=sum(part.in_work for part in parts),
        notes=plan.notes,
        names=tuple(layer.name for layer in sorted(plan.layers, key=lambda one: place[one.type])),
    )
    return start, best_entries(entry for part in parts for entry in part.known.values())


def _usable(plan: ScanPlan, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries that are new and exact enough for this scan."""
    for entry in entries:
        if entry.made >= plan.since and (plan.precision == FAST or not entry.error):
            yield entry


def _part_of(plan: ScanPlan) -> _Part:
    check_unchanged(plan.files)
    known = _scores_here(plan)
    layers = repr([(layer.name, layer.shape, layer.matrix_count) for layer in plan.layers])
    digest = hashlib.sha256(layers.encode()).hexdigest()
    return _Part(
        layers=digest,
        precision=plan.precision,
        devices=plan.devices,
        in_work=plan.batch_size * len(plan.devices),
        known=known,
    )


def _scores_here(plan: ScanPlan) -> dict[str, Entry]:
    """Return what the journals on this machine hold for this scan, in one process of it; nothing is
    written to them before all have read."""
    if not plan.group.leads_machine:
        return {}
    return best_entries(_usable(plan, read_entries(plan.journal)))


def _run(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    journal: Journal,
    precision: str,
    notes: list[str],
    cancelled: Callable[[], bool],
) -> Iterator[ScanEvent]:
    """Score what the layers lack, each process its share; the works of all know all scores then.

    What went otherwise than planned, in whichever process, is added to `notes`.
    """
    todo = [work for work in works if not work.is_complete]
    share = plan.group.share([work.cost for work in todo])
    mine = [todo[i] for i in share]
    workers = Workers(
        mine,
        journal,
        devices=plan.devices,
        precision=precision,
        workers=plan.batch_size,
        helpers=_helpers(plan, mine),
    )
    try:
        yield from plan.group.merged(workers.run(cancelled))
    finally:
        workers.close()
    states = plan.group.gather(lambda: (workers.notes, {i: todo[i].state for i in share}))
    for said, scored in states:
        notes += said
        for i, state in scored.items():
            todo[i].state = state


def _settle_order(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    journal: Journal,
    notes: list[str],
    cancelled: Callable[[], bool],
) -> Iterator[LayerRescored]:
    """Score in float64 what lies too near to another layer of its type to be ranked."""
    scored = [work for work in works if work.is_complete and not work.problem]
    close = undecided_in_groups((work.layer.type, work.interval) for work in scored)
    again = [LayerWork(scored[i].layer, {}) for i in close]
    for event in _run(plan, again, journal, EXACT, notes, cancelled):
        if isinstance(event, LayerDone):
            yield LayerRescored(event)


def _helpers(plan: ScanPlan, share: Sequence[LayerWork]) -> int:
    """Threads that only help with the matrices of others: the cores that have none, as far as
    there is memory for a Gram matrix more in each."""
    if plan.devices[0] != CPU or not share:
        return 0
    in_work = min(plan.batch_size, sum(len(work.missing) for work in share))
    idle = cores() // plan.group.local_size - in_work
    each = max(gram_bytes(work.layer) for work in share)
    free = SHARE * free_memory(CPU) / plan.group.local_size
    needed = in_work * max(memory_need(work.layer) for work in share)
    return max(0, min(idle, int((free - needed) // each)))
