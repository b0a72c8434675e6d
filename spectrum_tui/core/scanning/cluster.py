"""The matrices of a scan on a cluster: which node scores what, and what happens when one is lost.

The driver alone keeps the journal. It knows every node's cores, GPUs and memory, and gives a node
as many orders as it can work at; nodes that join later get their share. An order whose process or
node ends goes to another, so that each matrix is written down once.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from spectrum_tui.core import errors
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import KEPT, Fetched, LayerStarted, NodesChanged, ScanEvent, ScanNote
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.scanning.chunks import Item, Pile
from spectrum_tui.core.scanning.cluster_nodes import (
    BASE,
    Cluster,
    ClusterPlan,
    Lost,
    Member,
    Traffic,
    came_and_went,
    device_text,
    in_work,
    load,
    members,
)
from spectrum_tui.core.scanning.cluster_task import Answer, WorkOrder
from spectrum_tui.core.scanning.devices import CPU
from spectrum_tui.core.scanning.layers import LayerWork, held_bytes, memory_need
from spectrum_tui.core.scanning.workers import Keeper
from spectrum_tui.core.scoring.metrics import FAILED

_TRIES = 3
"""Processes that a matrix may take down by itself before it counts as failed."""
_IN_A_ROW = 4
"""Orders that a node may lose, others and none done in between, before it takes no part."""
_LOOK = 2.0
"""Seconds between two looks at which nodes there are."""
_GRACE = 6.0
"""Seconds for which a scan that is stopped waits for what is in work."""
_STREAMED = "The nodes read values over the network as needed."


def opened(
    plan: ClusterPlan | None, cancelled: Callable[[], bool]
) -> AbstractContextManager[Cluster | None]:
    """Connect to the cluster of a plan, as long as this lasts; None where it has none.

    Nothing else knows what the cluster runs on. Raises InputError where nothing answers at its
    address, or the package is missing that asks there, StoppedError where it is cancelled before.
    """
    if plan is None:
        return nullcontext()
    from spectrum_tui.core.scanning.ray_cluster import connected

    return connected(plan.address, cancelled)


@dataclass(slots=True)
class _Started:
    """An order in work."""

    member: Member
    items: list[Item]


@dataclass(slots=True, kw_only=True)
class _Said:
    """What went otherwise than planned; `read` are the notes on how values were read,
    `given_up` what was in work when a scan was stopped."""

    again: set[str] = field(default_factory=set)
    given_up: int = 0
    on_cpu: set[str] = field(default_factory=set)
    streamed: bool = False
    read: dict[str, None] = field(default_factory=dict)
    refusal: str = ""

    def notes(self) -> Iterator[str]:
        """Yield a line for each kind."""
        if self.again:
            matrices = counted(len(self.again), "matrix was", "matrices were")
            yield f"{matrices} given out again: a process or a node of the cluster had ended."
        if self.given_up:
            matrices = counted(self.given_up, "matrix was", "matrices were")
            yield f"{matrices} given up: {_GRACE:.0f} s after the stop there was no answer yet."
        if self.on_cpu:
            matrices = counted(len(self.on_cpu), "matrix was", "matrices were")
            yield f"{matrices} computed on the CPU: a GPU had no memory, or failed."
        yield from self.read


class ClusterWorkers:
    """Scores matrices on the nodes of a cluster, as `Workers` does in threads of this process."""

    def __init__(
        self,
        layers: Sequence[LayerWork],
        journal: Keeper,
        *,
        cluster: Cluster,
        plan: ClusterPlan,
        precision: str,
    ) -> None:
        self._cluster, self._plan, self._precision = cluster, plan, precision
        self._journal = journal
        self._place = {work.names[i]: (work, i) for work in layers for i in work.missing}
        self._pile = Pile([self._item(name) for name in self._place])
        self._members: dict[str, Member] = {}
        self._out: set[str] = set()
        self._started: dict[object, _Started] = {}
        self._ended: Counter[str] = Counter()
        self._lost_by: defaultdict[str, set[str]] = defaultdict(set)
        self._said = _Said()
        self._traffic = Traffic()
        self._waiting: dict[str, str] = {}
        self._looked = self._stopped = 0.0
        self._seen = self._waits = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What went otherwise than planned, a line for each kind."""
        return tuple(self._said.notes())

    def run(self, cancelled: Callable[[], bool]) -> Iterator[ScanEvent]:
        """Yield the events of all layers, until none is left or the scan is cancelled. Raises
        ScanError where no node is left that can take part."""
        while len(self._pile) or self._started:
            stopped = cancelled()
            if stopped and (not self._started or self._has_waited()):
                return
            yield from self._look()
            if not stopped:
                yield from self._give_out()
            if self._started:
                for handle, answer in self._cluster.finished(list(self._started), 0.2):
                    yield from self._take(self._started.pop(handle), answer)
            else:
                time.sleep(0.2)
        yield from self._told()

    def _told(self) -> Iterator[Fetched]:
        """Tell of the network: it is waited for where nobody that has something in work gets on."""
        at_work = {one.member.node.id for one in self._started.values()}
        waited = next(iter(self._waiting.values()), "")
        if at_work - self._waiting.keys():
            waited = ""
        if self._traffic.nbytes or waited:
            yield self._traffic.told(waited)

    def _has_waited(self) -> bool:
        """Return whether a stopped scan has waited long enough for what is in work."""
        self._stopped = self._stopped or time.monotonic()
        if time.monotonic() - self._stopped < _GRACE:
            return False
        self._said.given_up = sum(len(one.items) for one in self._started.values())
        return True

    def close(self) -> None:
        """End what is in work: nobody waits for it any more."""
        self._cluster.forget(list(self._started))
        self._started.clear()

    def _item(self, name: str, *, alone: bool = False) -> Item:
        work, _ = self._place[name]
        return Item(name, work.matrix_cost, memory_need(work.layer), alone)

    def _look(self) -> Iterator[ScanEvent]:
        """Look which nodes there are, every few seconds."""
        if time.monotonic() - self._looked < _LOOK and self._looked:
            return
        self._looked = time.monotonic()
        yield from self._told()
        nodes = self._cluster.nodes()
        yield from self._without_answer({node.id for node in nodes})
        found = {one.node.id: one for one in members(self._plan, nodes)}
        usable = {id: one for id, one in found.items() if id not in self._out}
        before = self._members
        self._members = {id: before.get(id, one) for id, one in usable.items()}
        if self._seen and before.keys() != usable.keys():
            yield self._changed(" ".join(came_and_went(before, self._members)))
        self._seen = True
        if usable or self._started or not len(self._pile):
            self._waits = False
        elif self._said.refusal:
            raise ScanError(
                f"No node of the cluster can take part. {self._said.refusal}",
                KEPT,
            )
        elif not self._waits:
            self._waits = True
            yield ScanNote("No node of the cluster can compute yet: the scan waits for one.")

    def _without_answer(self, alive: Set[str]) -> Iterator[ScanEvent]:
        """Take back what nodes have in work that are gone: the cluster may never say so."""
        gone = [id for id, one in self._started.items() if one.member.node.id not in alive]
        self._cluster.forget(gone)
        for handle in gone:
            yield from self._take(self._started.pop(handle), Lost("it is gone", with_node=True))

    def _changed(self, text: str = "") -> NodesChanged:
        found = list(self._members.values())
        return NodesChanged(device_text(found), in_work(found), text)

    def _give_out(self) -> Iterator[ScanEvent]:
        """Give every node as much as it has room for: one order each in turn."""
        given = True
        while given and len(self._pile):
            given = False
            for member in sorted(self._members.values(), key=load):
                if len(self._pile) and self._may_take(member, self._pile.top):
                    yield from self._start(member)
                    given = True

    def _may_take(self, member: Member, item: Item) -> bool:
        """Return whether a node has room for a matrix, and has not lost it: then it goes to another
        one, if there is one that has not."""
        lost_by = self._lost_by[item.name]
        elsewhere = member.node.id in lost_by and not self._members.keys() <= lost_by
        return not elsewhere and member.in_work < member.places

    def _start(self, member: Member) -> Iterator[LayerStarted]:
        """Give a node an order; the events tell of as many matrices as are in work at once."""
        places = sum(one.places for one in self._members.values())
        need = self._need(member, self._pile.top)
        at_once = member.fitting(need)
        items = self._pile.take(member.seconds_per_cost, places, at_once)
        names = tuple(item.name for item in items)
        device = "cuda:0" if member.gpu else CPU
        order = WorkOrder(
            names=names,
            device=device,
            precision=self._precision,
            threads=member.threads,
            at_once=at_once,
        )
        memory = BASE + at_once * need
        gpus = int(member.gpu)
        handle = self._cluster.start(member.node, self._plan.reference, order, gpus, memory)
        self._started[handle] = _Started(member, items)
        member.in_work += 1
        first = names[:at_once]
        cost = sum(item.cost for item in items) / len(first)
        for name in first:
            work, index = self._place[name]
            yield LayerStarted(name, work.layer.type, work.shape_of(index), cost)

    def _need(self, member: Member, item: Item) -> int:
        """Return the bytes of the node's own memory that a matrix takes while it is in work."""
        return held_bytes(self._place[item.name][0].layer) if member.gpu else item.need

    def _take(self, started: _Started, answer: Answer | Lost) -> Iterator[ScanEvent]:
        member = started.member
        member.in_work -= 1
        if isinstance(answer, Lost):
            yield from self._lost(started, answer)
        elif answer.changed is not None:
            raise errors.from_dict(dict(answer.changed))
        elif answer.refused is not None:
            yield from self._refused(started, answer.refused)
        else:
            member.lost.clear()
            yield from self._scored(started, answer)
            self._note_wait(started, answer)

    def _note_wait(self, started: _Started, answer: Answer) -> None:
        """Note whether a node waits for the network, and give out again what it has left."""
        node = started.member.node.id
        self._waiting.pop(node, None)
        if answer.waits:
            self._waiting[node] = answer.waits
            done = {entry.layer for entry, _ in answer.scores} | answer.failed.keys()
            self._pile.put_back([item for item in started.items if item.name not in done])

    def _scored(self, started: _Started, answer: Answer) -> Iterator[ScanEvent]:
        for entry, spectrum in answer.scores:
            work, index = self._place[entry.layer]
            # By this machine's clock, as --fresh asks for: a node's may be wrong.
            self._journal.append(replace(entry, made=time.time()), spectrum)
            self._said.read |= dict.fromkeys(entry.read_notes)
            yield from work.add(index, entry.metrics, entry.seconds, error=entry.error)
        for name, reason in answer.failed.items():
            yield from self._failed(name, reason)
        if not answer.failed and not answer.waits:
            cost = sum(item.cost for item in started.items)
            started.member.seconds_per_cost = answer.seconds / cost
        self._said.on_cpu |= answer.on_cpu
        self._traffic.add(answer.fetched)
        if answer.streamed and not self._said.streamed:
            self._said.streamed = True
            yield ScanNote(_STREAMED)

    def _failed(self, name: str, reason: str) -> Iterator[ScanEvent]:
        work, index = self._place[name]
        yield from work.add(index, FAILED, 0.0, reason)

    def _lost(self, started: _Started, lost: Lost) -> Iterator[ScanEvent]:
        """Give it out again, every matrix by itself: one that takes its process down is found so,
        and has no score at last."""
        names = [item.name for item in started.items]
        if len(names) == 1 and not lost.with_node:
            self._ended[names[0]] += 1
            if self._ended[names[0]] == _TRIES:
                yield from self._failed(
                    names[0], f"its process ended {_TRIES} times: {lost.reason}"
                )
                return
        for name in names:
            self._lost_by[name].add(started.member.node.id)
        if not self._stopped:
            self._said.again |= set(names)
        self._pile.put_back([self._item(name, alone=not lost.with_node) for name in names])
        self._looked = 0.0
        started.member.lost.add(names[0])
        if len(started.member.lost) == _IN_A_ROW and started.member.node.id not in self._out:
            yield from self._without(started.member, f"it lost {_IN_A_ROW} orders ({lost.reason})")

    def _refused(self, started: _Started, told: Mapping[str, str]) -> Iterator[ScanEvent]:
        self._pile.put_back(started.items)
        if started.member.node.id not in self._out:
            yield from self._without(started.member, f"{told['message']} {told['hint']}".strip())

    def _without(self, member: Member, why: str) -> Iterator[ScanEvent]:
        """Give a node nothing more."""
        self._out.add(member.node.id)
        self._waiting.pop(member.node.id, None)
        self._members.pop(member.node.id, None)
        self._looked = 0.0
        self._said.refusal = f"{member.node.host} takes no part: {why}"
        yield ScanNote(self._said.refusal)
        yield self._changed()
