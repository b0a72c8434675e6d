"""A connection to a Ray cluster, or one line on why there is none."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from spectrum_tui.core.errors import InputError, reason_of
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.text import safe

LOCAL = "local"
"""The address of a cluster that is started for one scan, on this machine."""
_STORE = 100 * 2**20
"""Bytes of the object store of a cluster on this machine: scores and singular values alone."""
_CONNECT = 10.0
"""Seconds after which an address counts as dead."""
_TRIES = 3
"""Times that a driver outside of the cluster connects: what serves it there is forked beside
threads of gRPC, and some of these processes end at once (ray-project/ray#63202; 2 of 5 were
seen)."""


def imported_ray() -> Any:
    """Return Ray; raises InputError without it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else any call after a connection is lost starts a cluster on this machine.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "--cluster needs Ray, which is not installed.",
            "pip install 'spectrum-tui[cluster]'",
            field="cluster",
        ) from None


def connect(ray: Any, address: str) -> None:
    """Connect Ray to the cluster at an address; raises InputError where none answers."""
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
            _init(ray, _address(address), quiet)
    except Exception as exc:  # of many kinds; a wrong version is a RuntimeError
        raise InputError(
            f"No cluster answers at {address} ({line_of(exc)}).", _hint(address), field="cluster"
        ) from None


def _init(ray: Any, address: str, quiet: Mapping[str, Any]) -> None:
    """Connect; once more where what should serve a driver from outside has not begun."""
    for left in reversed(range(_TRIES)):
        try:
            ray.init(address=address, **quiet)
            return
        except ConnectionAbortedError:
            if not left:
                raise
            with suppress(Exception):
                ray.shutdown()
        finally:
            # A driver from outside has its logger's level set for the other end alone.
            logging.getLogger("ray").setLevel(logging.CRITICAL)


def _address(typed: str) -> str:
    return os.environ.get("RAY_ADDRESS") or "auto" if typed == "auto" else typed


def _hint(address: str) -> str:
    if address in ("auto", LOCAL):
        return (
            "Start one (ray start --head) or join one (--address HOST:6379), or give its address. "
            "RAY_AUTH_MODE=token, if it asks for a token."
        )
    return (
        "From a machine outside of the cluster: ray://HOST:10001, with Python and Ray as there. "
        "RAY_AUTH_MODE=token, if it asks for a token."
    )


def _check_answers(address: str) -> None:
    """Raise InputError where nothing listens: Ray itself tries for minutes."""
    if ":" not in address:
        return
    try:
        socket.create_connection(host_and_port(address), _CONNECT).close()
    except (OSError, ValueError, OverflowError) as exc:
        why = reason_of(exc) if isinstance(exc, OSError) else line_of(exc)
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


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of an address; raises ValueError without a number."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


def line_of(exc: BaseException) -> str:
    """Return what is told in a line: its first one with what that leads to, of a traceback the
    last one, and its kind where there is none."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        lines = lines[-1:]
    said = " ".join(lines) if lines and lines[0].endswith(":") else next(iter(lines), "")
    return safe(said or type(exc).__name__)[:200].rstrip(".")
