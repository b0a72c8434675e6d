"""Ray, as far as a scan needs it: the nodes of a cluster, and orders that are carried out on them.

All that is asked of Ray is here. Which node does what is decided by `cluster`, so that a node that
cannot see the model takes no part, and each is as busy as its cores and GPUs allow.
"""

from __future__ import annotations

import atexit
import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from spectrum_tui.core.errors import InputError, ScanError, SpectrumError, reason_of
from spectrum_tui.core.events import KEPT
from spectrum_tui.core.scanning.cluster_nodes import Lost, Node
from spectrum_tui.core.scanning.cluster_task import Answer, Reference, WorkOrder, carry_out
from spectrum_tui.core.scanning.ray_connection import (
    call,
    connect,
    host_and_port,
    imported_ray,
    line_of,
)
from spectrum_tui.core.text import safe

T = TypeVar("T")

_WITHOUT_CLUSTER = (ConnectionError, RuntimeError, TimeoutError)
_PATIENCE = 20.0
"""Seconds for which the head of a cluster may be silent; Ray has 60."""


class RayCluster:
    """A `Cluster` of Ray."""

    def __init__(self, ray: Any, address: str = "") -> None:
        """`address` is where it was connected to; "" for a connection of the program around."""
        self._ray, self._address = ray, address
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        self._on = strategies.NodeAffinitySchedulingStrategy
        self._heard = time.monotonic()
        self._found: list[Node] = []
        self.lost = False
        self._begin()

    def _begin(self) -> None:
        """Note what belongs to this connection alone: a task, the node it goes through, orders."""
        self._task = self._ray.remote(max_retries=0)(carry_out)
        self._outside = bool(self._ray.util.client.ray.is_connected())
        self._head = self._where()
        self._through = str(self._ray.get_runtime_context().get_node_id())
        self._given: set[object] = set()

    def _where(self) -> tuple[str, int] | None:
        """Return where the head listens; for a driver outside of the cluster at the address that
        it was given, None if the program around knows it."""
        if not self._outside:
            return host_and_port(str(self._ray.get_runtime_context().gcs_address))
        return host_and_port(self._address) if self._address else None

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive and have cores or GPUs, in a fixed order. While the head
        is silent, those of before."""
        if self._hears():
            told = self._asked(self._ray.nodes)
            if any(one["NodeID"] == self._through and not one.get("Alive") for one in told):
                self._connect_again(told)
            found = [_node(one) for one in told if one.get("Alive")]
            usable = (node for node in found if node.cores or node.gpus)
            self._found = sorted(usable, key=lambda node: node.id)
        return self._found

    def _hears(self) -> bool:
        """Return whether the head answers: Ray would wait for it a minute, and then end this
        process with the exit code of a scan of which layers failed."""
        if self._head is None:
            return True
        try:
            socket.create_connection(self._head, _PATIENCE / 4).close()
        except OSError as exc:
            if time.monotonic() - self._heard < _PATIENCE:
                return False
            self.lost = True
            raise _gone(reason_of(exc)) from None
        self._heard = time.monotonic()
        return True

    def _connect_again(self, told: Sequence[Mapping[str, Any]]) -> None:
        """Connect through another node of this machine: without the one it went through, Ray 2.60
        answers nothing, and orders on other nodes neither end nor fail."""
        host = next(one for one in told if one["NodeID"] == self._through)["NodeManagerAddress"]
        here = any(one["NodeManagerAddress"] == host for one in told if one.get("Alive"))
        inside = not self._outside
        if not self._address or (inside and not here):
            raise _gone("the node that it went through has ended")
        self._given.clear()
        with suppress(Exception):
            self._ray.shutdown()
        try:
            connect(self._ray, _typed(self._head) if inside and self._head else self._address)
        except InputError as exc:
            raise _gone(f"the node that it went through has ended. {exc.message}") from None
        with self._connection():
            self._begin()

    def start(
        self, node: Node, reference: Reference, order: WorkOrder, gpus: int, memory: int
    ) -> object:
        """Have an order carried out on a node, with GPUs or without; returns what
        `finished` knows it by."""
        options: dict[str, Any] = {
            "num_gpus": gpus,
            "num_cpus": 0 if gpus else min(order.threads, node.cores),
            "memory": min(memory, node.memory),
            "scheduling_strategy": self._on(node.id, soft=False),
        }
        task = self._task.options(**options)
        ref: object = self._asked(lambda: task.remote(reference, order))
        self._given.add(ref)
        return ref

    def finished(
        self, started: Sequence[object], seconds: float
    ) -> list[tuple[object, Answer | Lost]]:
        """Return what has ended of these, after `seconds` at the latest; at once all that was
        given before the cluster was connected again."""
        if before := [ref for ref in started if ref not in self._given]:
            return [(ref, Lost("its connection has ended", with_node=True)) for ref in before]
        refs = list(started)
        ready, _ = self._asked(lambda: self._ray.wait(refs, num_returns=1, timeout=seconds))
        if ready and len(refs) > 1:
            ready, _ = self._asked(lambda: self._ray.wait(refs, num_returns=len(refs), timeout=0))
        self._given.difference_update(ready)
        return [(ref, self._answer(ref)) for ref in ready]

    def forget(self, started: Sequence[object]) -> None:
        """End the processes that carry these out."""
        for ref in started if not self.lost else ():
            if ref in self._given:
                self._given.remove(ref)
                with suppress(Exception):
                    self._within_patience(partial(self._ray.cancel, ref, force=True))

    def _answer(self, ref: object) -> Answer | Lost:
        known = self._ray.exceptions
        with self._connection():
            try:
                answer = self._within_patience(lambda: self._ray.get(ref, timeout=_PATIENCE))
            except known.RayTaskError as exc:
                line = f"Unexpected: {line_of(exc.cause if exc.cause is not None else exc)}."
                return Answer(refused={"message": line, "hint": _SAME, "field": ""})
            except known.OutOfMemoryError:
                return Lost("its node ran out of memory", with_node=False)
            except (known.NodeDiedError, known.TaskUnschedulableError) as exc:
                return Lost(line_of(exc), with_node=True)
            except known.RayError as exc:
                return Lost(line_of(exc), with_node=False)
        if not isinstance(answer, Answer):
            return Answer(refused={"message": "An answer of another version.", "hint": _SAME})
        return answer

    def _asked(self, work: Callable[[], T]) -> T:
        """Return what Ray answers; raises ScanError where the cluster is lost."""
        with self._connection():
            return self._within_patience(work)

    def _within_patience(self, work: Callable[[], T]) -> T:
        """Return what a call comes to. From outside of the cluster it is made in a thread: over a
        line that is cut off, Ray 2.60 comes back after 100 s."""
        if not self._outside:
            return work()
        answer: Future[T] = Future()
        threading.Thread(target=call, args=(work, answer), daemon=True).start()
        begun = time.monotonic()
        while not wait([answer], _PATIENCE / 10).done:
            self._hears()
            # What answers there may be left of a head that has ended; no call takes half as long.
            if time.monotonic() - begun > 2 * _PATIENCE:
                self.lost = True
                raise _gone("it answers no more")
        return answer.result()

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn what Ray's two kinds of drivers raise without a cluster into one line."""
        try:
            yield
        except SpectrumError:
            raise
        except Exception as exc:
            # From outside also gRPC's, which are of no other kind.
            if not (self._outside or isinstance(exc, _WITHOUT_CLUSTER)):
                raise
            self.lost = self.lost or self._outside
            raise _gone(line_of(exc)) from None


def _gone(why: str) -> ScanError:
    return ScanError(
        f"The cluster cannot be reached any more ({why}).",
        KEPT,
    )


def _typed(head: tuple[str, int]) -> str:
    host, port = head
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_SAME = "Install the same versions of Python, Ray and spectrum-tui on every node."


@contextmanager
def connected(address: str, cancelled: Callable[[], bool] = lambda: False) -> Iterator[RayCluster]:
    """Connect to the cluster at an address of `--cluster`, for as long as this lasts.

    Within a program that has connected to one, that one is used. Raises InputError without Ray
    and for an address where no cluster answers, StoppedError where it is cancelled before.
    """
    ray = imported_ray()
    if _lost.is_set():
        _shut_down(ray)
        _lost.clear()
        atexit.unregister(_end)
    if ray.is_initialized():
        yield RayCluster(ray)
        return
    connect(ray, address, cancelled)
    cluster = RayCluster(ray, address)
    try:
        yield cluster
    finally:
        if cluster.lost:
            _lost.set()
            atexit.register(_end)
        else:
            with suppress(Exception):
                ray.shutdown()


_lost = threading.Event()
"""Set while this process holds a connection of its own that is lost."""


def _shut_down(ray: Any) -> None:
    """Let go of a connection that is lost, which may take minutes: the next scan has its own."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(_PATIENCE / 4)


def _end() -> None:
    """End this process, whose scan has failed, before Ray does: without its head it waits for that
    and exits as if layers had failed, or crashes."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(2)


def _node(told: dict[str, Any]) -> Node:
    resources = told.get("Resources", {})
    return Node(
        id=told["NodeID"],
        host=safe(str(told.get("NodeManagerHostname") or told.get("NodeManagerAddress", "")))[:60],
        cores=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        memory=int(resources.get("memory", 0)),
    )
