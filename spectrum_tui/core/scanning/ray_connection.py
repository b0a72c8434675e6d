"""A connection to a Ray cluster, or one line on why there is none."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from types import FrameType
from typing import Any, TypeVar

from spectrum_tui.core.errors import InputError, reason_of
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.scanning.cluster_nodes import LOCAL, StoppedError
from spectrum_tui.core.text import safe

T = TypeVar("T")

_STORE = 100 * 2**20
"""Bytes of the object store of a cluster on this machine: scores and singular values alone."""
_HEADLESS = ("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
"""How long processes of a cluster on this machine look for one that has ended: else its agents are
there for 75 s after a scan was killed, as they still are where that was while they began."""
_CONNECT = 10.0
"""Seconds after which an address counts as dead."""
_LIMIT = 60.0
"""Seconds after which what listens at an address counts as no cluster: Ray waits for its answer
without an end, and heeds no signal meanwhile."""
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
        raise _without_ray() from None


def check_ray() -> None:
    """Raise InputError without Ray, which takes seconds to import."""
    found = None
    with suppress(ValueError):  # an import that is refused
        found = find_spec("ray")
    if found is None:
        raise _without_ray()


def _without_ray() -> InputError:
    return InputError(
        "--cluster needs Ray, which is not installed.",
        "pip install 'spectrum-tui[cluster]'",
        field="cluster",
    )


def connect(ray: Any, address: str, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Connect Ray to the cluster at an address; raises InputError where none answers, and
    StoppedError where it is cancelled before."""
    _check_answers(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        # On this machine alone: whoever reaches a cluster can run programs on it.
        os.environ.setdefault(*_HEADLESS)
        own = {"_node_ip_address": "127.0.0.1", "num_cpus": cores()}
        quiet |= {"include_dashboard": False, "object_store_memory": _STORE, **own}
    if not address.startswith("ray://"):
        # As for a driver elsewhere, whose folder the nodes' processes import nothing from.
        quiet["job_config"] = importlib.import_module("ray.job_config").JobConfig(_client_job=True)
    _silence(importlib.import_module("ray._private.worker"))
    try:
        with _no_stderr() as aloud, _heeding_signals(aloud):
            _in_a_thread(ray, address, quiet, cancelled)
    except (InputError, StoppedError):
        raise
    except Exception as exc:  # of many kinds; a wrong version is a RuntimeError
        raise unanswered(address, exc) from None


def unanswered(address: str, exc: Exception) -> InputError:
    """Return the error for an address where Ray connects to nothing. Its own words for a machine
    that is in no cluster are about options of its commands."""
    message = f"No cluster answers at {address} ({line_of(exc)})."
    if address == "auto" and "any running Ray instance" in str(exc):
        message = "This machine is in no Ray cluster."
    return InputError(message, _hint(address), field="cluster")


_under_way: list[Future[None]] = []
"""The tries to connect that nobody waits for any more."""


def _in_a_thread(
    ray: Any, address: str, quiet: Mapping[str, Any], cancelled: Callable[[], bool]
) -> None:
    """Connect in a thread that is left behind at the limit, and where it is cancelled: in this one
    no signal would be handled meanwhile, and Ray replaces the handler of SIGTERM."""
    _under_way[:] = [answer for answer in _under_way if not answer.done()]
    if _under_way:
        raise InputError(
            "An earlier try to connect to a cluster is still under way.",
            "Wait for a while, or start the program again.",
            field="cluster",
        )
    answer, left = Future[None](), threading.Event()
    work = partial(_connect, ray, address, quiet, left)
    thread = partial(_stay, work, answer) if address == LOCAL else partial(call, work, answer)
    threading.Thread(target=thread, daemon=True).start()
    begun = time.monotonic()
    while not wait([answer], 0.1).done:
        late = time.monotonic() - begun > _LIMIT and address != LOCAL
        if late or cancelled():
            left.set()
            _under_way.append(answer)
            raise TimeoutError(f"no answer in {_LIMIT:.0f} s") if late else StoppedError
    answer.result()


def _connect(ray: Any, address: str, quiet: Mapping[str, Any], left: threading.Event) -> None:
    """Connect, and let go again where nobody waits for it."""
    _init(ray, _address(address), quiet)
    if left.is_set():
        with suppress(Exception):
            ray.shutdown()


def _stay(work: Callable[[], None], answer: Future[None]) -> None:
    """As `call`, in a thread that does not end: the system ends the processes that it has started
    together with it."""
    call(work, answer)
    threading.Event().wait()


def call(work: Callable[[], T], answer: Future[T]) -> None:
    """Give what a call comes to as an answer."""
    try:
        answer.set_result(work())
    except BaseException as exc:
        answer.set_exception(exc)


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
            "Start one (ray start --head), join one (ray start --address HOST:6379), or give the "
            "address of one after --cluster. If it asks for a token, set RAY_AUTH_MODE=token."
        )
    return (
        "From a machine outside of the cluster: ray://HOST:10001, with Python and Ray as there. "
        "If it asks for a token, set RAY_AUTH_MODE=token."
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
def _heeding_signals(aloud: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Have what handles Ctrl-C and SIGTERM say it `aloud`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        with aloud():
            if callable(handler):
                handler(number, frame)

    ours = [number for number, handler in before.items() if callable(handler)]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is handle:  # else what it called has put another there
                signal.signal(number, before[number])


@contextmanager
def _no_stderr() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Drop what is written to stderr: each try to connect is a line of Ray's C++ there, which no
    setting stops. Provides what lets through again what is written within it."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)

    @contextmanager
    def aloud() -> Iterator[None]:
        os.dup2(kept, 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(nowhere, 2)

    os.dup2(nowhere, 2)
    try:
        yield aloud
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
