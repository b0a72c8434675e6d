"""The nodes of a cluster: what is asked of them, which take part, how much each can work at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.events import Fetched
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.scanning.cluster_task import Answer, Reference, WorkOrder
from spectrum_tui.core.scanning.devices import CPU

LOCAL = "local"
"""The address of a cluster that is started for one scan, on this machine."""
BASE = 700 * 2**20
"""Bytes of a process of a node beside its matrices: Python, torch, and a model's names."""
_CORES = 16
"""Cores of a process at the most: each describes the model for itself, up to 0.9 GB and 10 s for
one of 90,000 tensors, and asks a hub for its headers."""
_WINDOW = 30.0
"""Seconds over which the nodes' speed is taken: each tells of its reads every 10 s."""
_ON_A_GPU = 4
"""Matrices at once on a GPU: one leaves most of it idle."""


class StoppedError(Exception):
    """A scan that was stopped before its cluster was there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a cluster, and what of it tasks may use; `memory` in bytes."""

    id: str
    host: str
    cores: int
    gpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An order whose process or node ended before it was done, and why."""

    reason: str
    with_node: bool


class Cluster(Protocol):
    """A connection to a cluster, whatever it runs on.

    Any call but `forget` raises ScanError once the cluster cannot be reached any more, for good. A
    node has one `id` as long as it is there. An order is carried out once at the most: whoever
    gave it gives what is lost again.
    """

    def nodes(self) -> list[Node]:
        """Return the nodes that are there and can compute, in a fixed order."""
        ...

    def start(
        self, node: Node, reference: Reference, order: WorkOrder, gpus: int, memory: int
    ) -> object:
        """Have a process of this node `carry_out` an order, with so many GPUs and bytes of its
        memory; returns what `finished` and `forget` know it by, equal to no other order's. That
        the node is gone is no error here."""
        ...

    def finished(
        self, started: Sequence[object], seconds: float
    ) -> list[tuple[object, Answer | Lost]]:
        """Return what has ended of these orders, each with its answer or why there is none, after
        `seconds` at the latest. One of a node that `nodes` lacks may never be among them."""
        ...

    def forget(self, started: Sequence[object]) -> None:
        """End these orders, of which nothing is told any more; raises nothing. What they have
        computed is lost, and nothing of them is left on the nodes: the driver keeps the scores.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """Where a cluster is, how its nodes find the model, and which of their devices compute:
    "auto" GPUs where a node has some, "cpu" and "cuda" those alone. `batch_size` is how many
    matrices are in work on each device, 0 for a core each and four on a GPU."""

    address: str
    reference: Reference
    device: str = "auto"
    batch_size: int = 0


def check_device(device: str) -> None:
    """Raise InputError for a device that names one of a single machine."""
    if device not in ("auto", CPU, "cuda"):
        raise InputError(
            f"On a cluster there is no device {device!r}.",
            "Give auto (GPUs where a node has some), cpu or cuda.",
            field="device",
        )


@dataclass(slots=True, kw_only=True)
class Member:
    """A node that takes part: how many processes it has room for, with how many cores and matrices
    at once in each; what is in work on it, and how fast its last order was, 0 before."""

    node: Node
    places: int
    threads: int
    at_once: int
    gpu: bool = False
    in_work: int = 0
    seconds_per_cost: float = 0.0
    lost: set[str] = field(default_factory=set)

    def fitting(self, need: int) -> int:
        """Return how many matrices that take `need` bytes one of its processes has in work: at
        least one, which says itself what it lacks."""
        if not self.node.memory:
            return self.at_once
        free = self.node.memory / self.places - BASE
        return max(1, min(self.at_once, int(free // max(1, need))))


def members(plan: ClusterPlan, nodes: Sequence[Node]) -> list[Member]:
    """Return the nodes that can take part, and how many orders each has room for at once."""
    return [member for node in nodes if (member := _member(plan, node)).places]


def _member(plan: ClusterPlan, node: Node) -> Member:
    if node.gpus and plan.device != CPU:
        return Member(
            node=node,
            places=node.gpus,
            threads=1,
            at_once=plan.batch_size or _ON_A_GPU,
            gpu=True,
        )
    at_once = min(node.cores, plan.batch_size or node.cores) if plan.device != "cuda" else 0
    places = min(at_once, -(-node.cores // _CORES))
    return Member(
        node=node,
        places=places,
        threads=node.cores // max(1, places),
        at_once=at_once // max(1, places),
    )


def in_work(found: Sequence[Member]) -> int:
    """Return how many matrices are in work on these at once."""
    return sum(member.places * member.at_once for member in found)


def device_text(found: Sequence[Member]) -> str:
    """Return what computes, in words: 2 nodes (8 cores, 1 GPU)."""
    if not found:
        return "a cluster without nodes"
    cores = sum(member.node.cores for member in found if not member.gpu)
    gpus = sum(member.node.gpus for member in found if member.gpu)
    parts = [counted(n, word) for n, word in ((cores, "core"), (gpus, "GPU")) if n]
    return f"{counted(len(found), 'node')} ({', '.join(parts)})"


def came_and_went(before: Mapping[str, Member], now: Mapping[str, Member]) -> Iterator[str]:
    """Yield a sentence on the nodes that are gone, and one on those that have joined."""
    for one, other, verb in ((before, now, "lost"), (now, before, "there now")):
        if found := [member.node.host for id, member in one.items() if id not in other]:
            hosts = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            nodes = counted(len(found), "node of the cluster is", "nodes of the cluster are")
            yield f"{nodes} {verb} ({hosts})."


class Traffic:
    """What the nodes have read over the network, as their answers tell it."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._begun = time.monotonic()
        self._came: deque[tuple[float, int]] = deque()

    def add(self, nbytes: int) -> None:
        """Count what an answer tells."""
        self.nbytes += nbytes
        self._came.append((time.monotonic(), nbytes))

    def told(self, waited: str) -> Fetched:
        """Return what has come so far, and how fast it does, or why it is waited for; of how much
        nobody knows, for some nodes may have files of their own."""
        now = time.monotonic()
        while self._came and now - self._came[0][0] > _WINDOW:
            self._came.popleft()
        seconds = min(_WINDOW, max(now - self._begun, 1.0))
        return Fetched(self.nbytes, 0, sum(nbytes for _, nbytes in self._came) / seconds, waited)


def load(member: Member) -> float:
    """Return how busy a node is: 0 idle, 1 with no room for more."""
    return member.in_work / member.places
