"""The scan: a generator of events that scores a model's layers, several at a time.

Knows nothing of who listens. Every score is in the journal before its event is yielded; a score
that the journal already has is not computed again.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectrum_tui.core import spectra
from spectrum_tui.core.checkpoint import Checkpoint
from spectrum_tui.core.devices import pick_device
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerStarted,
    ScanEnded,
    ScanEvent,
    ScanStarted,
)
from spectrum_tui.core.journal import Entry, Journal, journal_path, read_journal
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.scores import ONE_DIMENSIONAL, Score, UnscorableError


@dataclass(frozen=True)
class ScanPlan:
    """The layers to score in the order of the results, and how: see `make_plan`."""

    layers: tuple[Layer, ...]
    journal: Path
    device: str
    batch_size: int
    notes: tuple[str, ...] = ()
    fresh: bool = False

    @property
    def cost(self) -> float:
        """Work of all layers, in the units of `spectra.cost`."""
        return sum(layer_cost(layer) for layer in self.layers)


def layer_cost(layer: Layer) -> float:
    """Estimated work of one layer."""
    return spectra.cost(layer.rows, layer.columns)


def make_plan(
    checkpoint: Checkpoint,
    layers: Sequence[Layer],
    *,
    device: str = "auto",
    batch_size: int = 0,
    fresh: bool = False,
) -> ScanPlan:
    """Settle device and batch size for scoring `layers`; raises InputError for a bad device."""
    name, notes = choose_device(device)
    workers = batch_size or default_batch_size(name)
    return ScanPlan(
        tuple(layers), journal_path(checkpoint.fingerprint), name, workers, notes, fresh
    )


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


def default_batch_size(device: str) -> int:
    """One matrix for each core (single-threaded eigenvalue solvers beat threaded ones); on a
    GPU two, so that one is read while the other computes."""
    if device != "cpu":
        return 2
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def scan(plan: ScanPlan, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[ScanEvent]:
    """Score the planned layers; yields ScanStarted, then each layer's events, then ScanEnded.

    After `cancelled()` turns true, matrices in work are finished and nothing new is begun.
    Raises OutputError when the journal cannot be written; everything before is kept.
    """
    known = {} if plan.fresh else read_journal(plan.journal)
    types = dict(Counter(layer.type for layer in plan.layers))
    yield ScanStarted(len(plan.layers), plan.cost, types, plan.device, plan.batch_size, plan.notes)
    done = failed = 0
    todo: list[Layer] = []
    for layer in plan.layers:
        score = ONE_DIMENSIONAL if layer.one_dimensional else None
        entry = known.get(layer.name)
        if entry is not None or score is not None:
            done += 1
            yield _done(layer, entry.score if entry else ONE_DIMENSIONAL, 0.0, resumed=True)
        else:
            todo.append(layer)
    with Journal(plan.journal, fresh=plan.fresh) as journal:
        for event in _Workers(todo, plan, journal).run(cancelled):
            done += isinstance(event, LayerDone)
            failed += isinstance(event, LayerFailed)
            yield event
    remaining = len(plan.layers) - done - failed
    yield ScanEnded("stopped" if remaining else "finished", done, failed, remaining)


class _Workers:
    """`batch_size` daemon threads that take the costliest layer first.

    Costliest first, so that no thread is left alone with the vocabulary matrix at the end.
    Daemon threads, because an executor's would hold the process at exit until their matrix is
    finished.
    """

    def __init__(self, layers: Sequence[Layer], plan: ScanPlan, journal: Journal) -> None:
        self._todo = deque(sorted(layers, key=layer_cost, reverse=True))
        self._plan = plan
        self._journal = journal
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._events: queue.SimpleQueue[ScanEvent | BaseException | None] = queue.SimpleQueue()

    def run(self, cancelled: Callable[[], bool]) -> Iterator[ScanEvent]:
        """The events of all layers, until none is left or the scan is cancelled."""
        running = min(self._plan.batch_size, len(self._todo))
        with _torch_threads(self._plan, running):
            for _ in range(running):
                threading.Thread(target=self._work, daemon=True).start()
            try:
                while running:
                    event = self._next(cancelled)
                    if event is None:
                        running -= 1
                    elif isinstance(event, BaseException):
                        raise event
                    else:
                        yield event
            finally:
                self._stop.set()

    def _next(self, cancelled: Callable[[], bool]) -> ScanEvent | BaseException | None:
        """The next event; looks ten times a second whether the scan is cancelled."""
        while True:
            if cancelled():
                self._stop.set()
            try:
                return self._events.get(timeout=0.1)
            except queue.Empty:
                continue

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and (layer := self._take()) is not None:
                self._events.put(LayerStarted(layer.name, layer.type, layer.weight.shape))
                self._events.put(self._score(layer))
        except BaseException as exc:
            self._events.put(exc)
        finally:
            self._events.put(None)

    def _take(self) -> Layer | None:
        with self._lock:
            return self._todo.popleft() if self._todo else None

    def _score(self, layer: Layer) -> ScanEvent:
        begin = time.perf_counter()
        try:
            score = spectra.score_tensor(layer.weight, layer.rows, layer.columns, self._plan.device)
        except (UnscorableError, SpectrumError, RuntimeError, MemoryError) as exc:
            return _failed(layer, exc)
        seconds = time.perf_counter() - begin
        with self._lock:
            self._journal.append(Entry(layer.name, score, seconds))
        return _done(layer, score, seconds)


class _torch_threads:  # noqa: N801  (reads as a statement: with _torch_threads(...))
    """Share the cores between the workers of a CPU scan; torch's own setting comes back."""

    def __init__(self, plan: ScanPlan, workers: int) -> None:
        self._threads = 0
        if plan.device == "cpu" and workers:
            self._threads = max(1, default_batch_size("cpu") // workers)

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)

    def __exit__(self, *exc: object) -> None:
        import torch

        torch.set_num_threads(self._before)


def _done(layer: Layer, score: Score, seconds: float, *, resumed: bool = False) -> LayerDone:
    return LayerDone(
        layer.name,
        layer.type,
        layer.weight.shape,
        score.snr,
        layer_cost(layer),
        layer.weight.nbytes,
        seconds,
        resumed,
    )


def _failed(layer: Layer, exc: BaseException) -> LayerFailed:
    reason = exc.message if isinstance(exc, SpectrumError) else str(exc) or type(exc).__name__
    line = reason.strip().splitlines()[0] if reason.strip() else type(exc).__name__
    return LayerFailed(layer.name, layer.type, layer.weight.shape, line, layer_cost(layer))
