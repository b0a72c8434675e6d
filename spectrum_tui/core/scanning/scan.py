"""The scan: a generator of events that scores a model's layers, several at a time.

Knows nothing of who listens. Every score is in the journal before its event is yielded, but for
what `watch` holds back; a score that the journal already has is not computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from spectrum_tui.core.checkpoint.file_state import check_unchanged
from spectrum_tui.core.checkpoint.mounts import patiently
from spectrum_tui.core.errors import HubError, OutOfReachError
from spectrum_tui.core.events import (
    KEPT,
    LayerDone,
    LayerFailed,
    LayerRescored,
    ScanEnded,
    ScanEvent,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.gc_pause import import_torch
from spectrum_tui.core.hub.outage import GivenUpError
from spectrum_tui.core.hub.reader import Reader
from spectrum_tui.core.journal.journal import (
    Entry,
    Journal,
    JournalTail,
    best_entries,
    read_entries,
)
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.scanning import cluster, libraries
from spectrum_tui.core.scanning.absence import unchanged
from spectrum_tui.core.scanning.cluster import ClusterWorkers
from spectrum_tui.core.scanning.cluster_nodes import (
    LOCAL,
    Cluster,
    StoppedError,
    device_text,
    in_work,
    members,
)
from spectrum_tui.core.scanning.devices import (
    CPU,
    SHARE,
    free_memory,
)
from spectrum_tui.core.scanning.following import Followed, turn
from spectrum_tui.core.scanning.layers import (
    LayerWork,
    gram_bytes,
    memory_need,
)
from spectrum_tui.core.scanning.plan import ScanPlan
from spectrum_tui.core.scanning.precision import undecided_in_groups
from spectrum_tui.core.scanning.read_order import costliest_first, forward
from spectrum_tui.core.scanning.speed import usual_shape, worker_rate
from spectrum_tui.core.scanning.streaming import reading_ahead
from spectrum_tui.core.scanning.watch import Watch
from spectrum_tui.core.scanning.workers import Keeper, Workers
from spectrum_tui.core.scoring.svd import EXACT, FAST, TORCH_ON_CPU

FOLLOWS = "its scores are shown as they come, and layers that it leaves are scored here"


def reads_nothing(plan: ScanPlan) -> bool:
    """Return whether earlier scans have left every score of a plan, so that no value is read."""
    known = _known(plan)
    works = [LayerWork(layer, known, plan.precision) for layer in plan.layers]
    if not all(work.is_complete for work in works):
        return False
    return plan.precision != FAST or not _undecided(works)


def scan(
    plan: ScanPlan,
    reader: Reader | None = None,
    *,
    watch: Watch | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[ScanEvent]:
    """Score the planned layers; yields ScanStarted, then each layer's events, then ScanEnded.

    `reader` reads the files that are not on this machine, `watch` looks at them again: it holds
    scores back until then.

    A layer of several matrices reports each as MatrixDone before its own LayerDone. After
    `cancelled()` turns true, matrices in work are finished and nothing new is begun.
    While another scan of this model runs, its scores are yielded as they come, without a
    LayerStarted and with 0 seconds; what it leaves when it ends is scored then.
    Raises OutputError when the journal cannot be written, ModelChangedError when a file is not
    what was inspected, so that nothing of it is written down; everything before is kept, but what
    the watch holds back.
    """
    done = failed = 0
    state = _State(reader=reader, watch=watch)
    try:
        with (
            ScanLock(plan.journal) as lock,
            cluster.opened(plan.cluster, cancelled) as state.cluster,
            closing(_events(plan, lock, state, cancelled)) as events,
        ):
            for event in events:
                done += isinstance(event, LayerDone)
                failed += isinstance(event, LayerFailed)
                yield event
            if plan.cluster is not None and plan.cluster.address == LOCAL:
                yield ScanNote(_ENDS)
    except StoppedError:
        state.gave_up = True
    with _as_a_stop(state, cancelled):
        yield from unchanged(plan.files, cancelled)
    if watch is not None and watch.note:
        state.notes.append(watch.note)
    stopped = done + failed < len(plan.layers) or state.gave_up
    yield ScanEnded("stopped" if stopped else "finished", done, failed, tuple(state.notes))


_ENDS = "The cluster that was started for this scan is ended now."
"""Said of what takes up to 6 s, in which nothing else happens."""


@dataclass(kw_only=True)
class _State:
    """What of a scan is in no event: notes for its end, whether it was cancelled while another
    one was at work, what reads values that are not on this machine and looks at them again, and the
    connection to a cluster."""

    notes: list[str] = field(default_factory=list)
    gave_up: bool = False
    reader: Reader | None = None
    watch: Watch | None = None
    cluster: Cluster | None = None


def _events(
    plan: ScanPlan, lock: ScanLock, state: _State, cancelled: Callable[[], bool]
) -> Generator[ScanEvent]:
    """Everything that happens in a scan but its end."""
    holder = lock.take_soon()
    patiently(partial(check_unchanged, plan.files))
    known = _known(plan)
    works = [LayerWork(layer, known, plan.precision) for layer in plan.layers]
    plan = plan if holder else _with_fastest_library(plan, works)
    started = _start(plan, state.cluster, 0.0 if holder else _expected(plan, works))
    yield replace(started, earlier=_read_notes(works, known))
    for work in works:
        yield from work.resumed()
    if holder:
        yield ScanNote(f"Another scan of this model is running ({holder}): {FOLLOWS}.")
        yield from _follow(plan, works, lock, state, cancelled)
        if state.gave_up:
            return
    with _as_a_stop(state, cancelled), _keeper(plan, state.watch) as keeper:
        yield from _run(plan, works, keeper, plan.precision, state, cancelled)
        if plan.precision == FAST:
            yield from _settle_order(plan, works, keeper, state, cancelled)


@contextmanager
def _keeper(plan: ScanPlan, watch: Watch | None) -> Iterator[Keeper]:
    """Provide what takes the scores: the journal, or what holds them back before it."""
    with Journal(plan.journal) as journal:
        if watch is None:
            yield journal
            return
        with watch.over(journal) as held:
            yield held


@contextmanager
def _as_a_stop(state: _State, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Take a network or a mount that is gone for a stop of the scan, with a note unless it was
    cancelled; a server that refuses is an error."""
    try:
        yield
    except (GivenUpError, OutOfReachError) as exc:
        if not (state.gave_up or cancelled()):
            state.notes.append(f"{exc} {KEPT}")
        state.gave_up = True
    except HubError as exc:
        if state.watch is not None and state.watch.note:
            exc.hint = f"{exc.hint} {state.watch.note}".strip()
        elif not exc.hint.endswith(KEPT):
            exc.hint = f"{exc.hint} {KEPT}".strip()
        raise


def _follow(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    lock: ScanLock,
    state: _State,
    cancelled: Callable[[], bool],
) -> Iterator[ScanEvent]:
    """Wait for the scan that has the lock, and take in what it finishes, then whatever it left."""
    followed = Followed(works)
    state.gave_up = True
    tail = JournalTail(plan.journal)

    def new_entries() -> list[Entry]:
        return list(_usable(plan, tail.new_entries()))

    for entries, ours in turn(lock, new_entries, cancelled):
        yield from followed.take(entries)
        state.gave_up = not ours
    if not state.gave_up:
        yield from followed.take(_known(plan).values())
    state.notes += followed.notes
    if state.gave_up:
        return
    left = sum(not work.is_complete for work in works)
    yield ScanNote(f"The other scan has ended: {counted(left, 'layer')} left to score.")


def _read_notes(works: Sequence[LayerWork], known: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return what the provenance says of how those of these matrices that are scored were read."""
    entries = (known[name] for work in works for name in work.names if name in known)
    return tuple(dict.fromkeys(note for entry in entries for note in entry.read_notes))


def _with_fastest_library(plan: ScanPlan, works: Sequence[LayerWork]) -> ScanPlan:
    """Return the plan with torch for the CPU where a long scan is faster with it."""
    if plan.cluster is not None or plan.devices != (CPU,):
        return plan
    cost = sum(work.cost for work in works)
    gain = libraries.times_as_fast(cost, min(usual_shape(plan.layers)), plan.precision)
    if gain < libraries.GAIN:
        return plan
    import_torch()
    return replace(plan, cpu=TORCH_ON_CPU, notes=(*plan.notes, libraries.note_of(gain)))


def _expected(plan: ScanPlan, works: Sequence[LayerWork]) -> float:
    """Return the seconds per unit of cost that a worker of this machine is likely to take; 0 where
    it is not known, as on a cluster."""
    if plan.cluster is not None:
        return 0.0
    cost = sum(work.cost for work in works)
    devices = tuple(plan.cpu if device == CPU else device for device in plan.devices)
    return worker_rate(plan.layers, cost, devices, plan.batch_size, plan.precision)


def _start(plan: ScanPlan, connection: Cluster | None, seconds_per_cost: float) -> ScanStarted:
    device, at_once = ", ".join(plan.devices), plan.batch_size * len(plan.devices)
    if plan.cluster is not None and connection is not None:
        found = members(plan.cluster, connection.nodes())
        device, at_once = device_text(found), in_work(found)
    types = Counter(layer.type for layer in plan.layers)
    place = {name: i for i, name in enumerate(types)}
    return ScanStarted(
        layers=len(plan.layers),
        cost=plan.cost,
        types=dict(types),
        device=device,
        batch_size=at_once,
        notes=plan.notes,
        names=tuple(layer.name for layer in sorted(plan.layers, key=lambda one: place[one.type])),
        seconds_per_cost=seconds_per_cost,
        elsewhere=plan.cluster is not None,
    )


def _usable(plan: ScanPlan, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries that are new and exact enough for this scan."""
    for entry in entries:
        if entry.made >= plan.since and (plan.precision == FAST or not entry.error):
            yield entry


def _known(plan: ScanPlan) -> dict[str, Entry]:
    """Return what the journal holds for this scan."""
    return best_entries(_usable(plan, read_entries(plan.journal)))


def _run(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    journal: Keeper,
    precision: str,
    state: _State,
    cancelled: Callable[[], bool],
) -> Iterator[ScanEvent]:
    """Score what the layers lack, in threads of this process or on the nodes of a cluster."""
    todo = [work for work in works if not work.is_complete]
    if plan.cluster is not None and state.cluster is not None:
        nodes = ClusterWorkers(
            todo, journal, cluster=state.cluster, plan=plan.cluster, precision=precision
        )
        yield from _worked(nodes, state, cancelled)
        return
    order = costliest_first(todo)
    order = forward(order) if plan.on_demand else order
    with reading_ahead(state.reader, order) as reading:
        threads = Workers(
            reading,
            journal,
            devices=plan.devices,
            precision=precision,
            workers=plan.batch_size,
            helpers=_helpers(plan, todo),
            cpu=plan.cpu,
        )
        yield from _worked(threads, state, cancelled)


def _worked(
    workers: Workers | ClusterWorkers, state: _State, cancelled: Callable[[], bool]
) -> Iterator[ScanEvent]:
    """Run workers to their end; what went otherwise than planned is added to the notes."""
    try:
        for event in workers.run(cancelled):
            yield event
            if state.watch is not None:
                state.watch.look_if_due()
    finally:
        workers.close()  # what is in work reads on
    state.notes += workers.notes


def _settle_order(
    plan: ScanPlan,
    works: Sequence[LayerWork],
    journal: Keeper,
    state: _State,
    cancelled: Callable[[], bool],
) -> Iterator[LayerRescored]:
    """Score in float64 what lies too near to another layer of its type to be ranked."""
    again = [LayerWork(layer, {}) for layer in _undecided(works)]
    for event in _run(plan, again, journal, EXACT, state, cancelled):
        if isinstance(event, LayerDone):
            yield LayerRescored(event)


def _undecided(works: Sequence[LayerWork]) -> list[Layer]:
    """Return the layers whose place among those of their type their errors leave open."""
    scored = [work for work in works if work.is_complete and not work.problem]
    close = undecided_in_groups((work.layer.type, work.interval) for work in scored)
    return [scored[i].layer for i in close]


def _helpers(plan: ScanPlan, works: Sequence[LayerWork]) -> int:
    """Threads that only help with the matrices of others: the cores that have none, as far as
    there is memory for a Gram matrix more in each."""
    if plan.devices[0] != CPU or not works:
        return 0
    in_work = min(plan.batch_size, sum(len(work.missing) for work in works))
    needed = in_work * max(memory_need(work.layer) for work in works)
    each = max(gram_bytes(work.layer) for work in works)
    fitting = int((SHARE * free_memory(CPU) - needed) // max(1, each))
    return max(0, min(cores() - in_work, fitting))
