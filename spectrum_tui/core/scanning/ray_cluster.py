"""Ray, as far as a scan needs it: the nodes of a cluster, and orders that are carried out on them.

All that is asked of Ray is here. Which node does what is decided by `cluster`, so that a node that
cannot see the model takes no part, and each is as busy as its cores and GPUs allow.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from spectrum_tui.core.errors import InputError, ScanError, reason_of
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.scanning.cluster_task import Answer, Reference, WorkOrder, carry_out
from spectrum_tui.core.text import safe

LOCAL = "local"
"""The address of a cluster that is started for one scan, on this machine."""
_STORE = 100 * 2**20
"""Bytes of the object store of a cluster on this machine: scores and singular values alone."""
_PATIENCE = 20.0
"""Seconds for which the head of a cluster may be silent; Ray has 60."""
_CONNECT = 10.0
"""Seconds after which an address counts as dead."""


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


class RayCluster:
    """A connection to a cluster; raises ScanError from any call once it is lost."""

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
        self._head = _head(self._ray)
        self._through = str(self._ray.get_runtime_context().get_node_id())
        self._given: set[object] = set()

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive and have cores or GPUs, in a fixed order. While the head
        is silent, those of before."""
        if self._hears():
            with self._connection():
                told = self._ray.nodes()
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
        inside = self._head is not None
        if not self._address or (inside and not here):
            raise _gone("the node that it went through has ended")
        self._given.clear()
        with suppress(Exception):
            self._ray.shutdown()
        try:
            _connect(self._ray, _typed(self._head) if self._head is not None else self._address)
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
        with self._connection():
            ref: object = self._task.options(**options).remote(reference, order)
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
        with self._connection():
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
            if ready and len(refs) > 1:
                ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        self._given.difference_update(ready)
        return [(ref, self._answer(ref)) for ref in ready]

    def forget(self, started: Sequence[object]) -> None:
        """End the processes that carry these out."""
        for ref in started if not self.lost else ():
            if ref in self._given:
                self._given.remove(ref)
                with suppress(Exception):
                    self._ray.cancel(ref, force=True)

    def _answer(self, ref: object) -> Answer | Lost:
        known = self._ray.exceptions
        with self._connection():
            try:
                answer = self._ray.get(ref, timeout=_PATIENCE)
            except known.RayTaskError as exc:
                line = f"Unexpected: {_line(exc.cause if exc.cause is not None else exc)}"
                return Answer(refused={"message": line, "hint": _SAME, "field": ""})
            except known.OutOfMemoryError:
                return Lost("its node ran out of memory", with_node=False)
            except (known.NodeDiedError, known.TaskUnschedulableError) as exc:
                return Lost(_line(exc), with_node=True)
            except known.RayError as exc:
                return Lost(_line(exc), with_node=False)
        if not isinstance(answer, Answer):
            return Answer(refused={"message": "An answer of another version.", "hint": _SAME})
        return answer

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn what Ray's two kinds of drivers raise without a cluster into one line."""
        try:
            yield
        except (ConnectionError, RuntimeError, TimeoutError) as exc:
            raise _gone(_line(exc)) from None


def _gone(why: str) -> ScanError:
    return ScanError(
        f"The cluster cannot be reached any more ({why}).",
        "Finished scores are kept: the same command goes on from there.",
    )


def _head(ray: Any) -> tuple[str, int] | None:
    """Return where the head of the cluster listens, None for a driver outside of the cluster, whose
    own connection says when it is gone."""
    if ray.util.client.ray.is_connected():
        return None
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    return host.strip("[]"), int(port)


def _typed(head: tuple[str, int]) -> str:
    host, port = head
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_SAME = "Install the same versions of Python, Ray and spectrum-tui on every node."


@contextmanager
def connected(address: str) -> Iterator[RayCluster]:
    """Connect to the cluster at an address of `--cluster`, for as long as this lasts.

    Within a program that has connected to one, that one is used. Raises InputError without Ray
    and for an address where no cluster answers.
    """
    ray = _ray()
    if ray.is_initialized():
        yield RayCluster(ray)
        return
    _connect(ray, address)
    cluster = RayCluster(ray, address)
    try:
        yield cluster
    finally:
        if cluster.lost:
            atexit.register(_end)
        else:
            with suppress(Exception):
                ray.shutdown()


def _end() -> None:
    """End this process, whose scan has failed, before Ray does: without its head it waits for that
    and exits as if layers had failed, or crashes."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(2)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "--cluster needs Ray, which is not installed.",
            "pip install 'spectrum-tui[cluster]'",
            field="cluster",
        ) from None


def _connect(ray: Any, address: str) -> None:
    _check_answers(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        # On this machine alone: whoever reaches a cluster can run programs on it.
        own = {"_node_ip_address": "127.0.0.1", "num_cpus": cores()}
        quiet |= {"include_dashboard": False, "object_store_memory": _STORE, **own}
    if not address.startswith("ray://"):
        # As for a driver elsewhere, whose folder the nodes' processes import nothing from.
        quiet["job_config"] = importlib.import_module("ray.job_config").JobConfig(_client_job=True)
    _silence(importlib.import_module("ray._private.worker"))
    try:
        with _own_signals(), _no_stderr():
            ray.init(address=_address(address), **quiet)
    except Exception as exc:  # of many kinds; a wrong version is a RuntimeError
        raise InputError(
            f"No cluster answers at {address} ({_line(exc)}).", _hint(address), field="cluster"
        ) from None


def _address(typed: str) -> str:
    return os.environ.get("RAY_ADDRESS") or "auto" if typed == "auto" else typed


def _hint(address: str) -> str:
    if address in ("auto", LOCAL):
        return "Start one (ray start --head), or give its address."
    return (
        "From a machine outside of the cluster: ray://HOST:10001, with Python and Ray as there. "
        "RAY_AUTH_MODE=token, if it asks for a token."
    )


def _check_answers(address: str) -> None:
    """Raise InputError where nothing listens: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except (OSError, ValueError, OverflowError) as exc:
        why = reason_of(exc) if isinstance(exc, OSError) else _line(exc)
        raise InputError(
            f"No cluster answers at {address} ({why}).", _hint(address), field="cluster"
        ) from None


def _silence(worker: Any) -> None:
    """Keep the driver from printing what happens to nodes, on stdout: they are data's, and the
    notes of the scan say it. No option of `ray.init` does."""
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM, which `ray.init` replaces by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what is written to stderr: each try to connect is a line of Ray's C++ there, which no
    setting stops."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _node(told: dict[str, Any]) -> Node:
    resources = told.get("Resources", {})
    return Node(
        id=told["NodeID"],
        host=safe(str(told.get("NodeManagerHostname") or told.get("NodeManagerAddress", "")))[:60],
        cores=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
        memory=int(resources.get("memory", 0)),
    )


def _line(exc: BaseException) -> str:
    """Return the first line of what is told, and its kind where that says nothing."""
    line = next((part for part in str(exc).splitlines() if part.strip()), "")
    return safe(line.strip() or type(exc).__name__)[:200].rstrip(".")
