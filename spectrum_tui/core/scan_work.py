"""The matrices of a scan in work: threads that score them, and layers that wait for theirs."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from spectrum_tui.core import spectra
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerStarted,
    MatrixDone,
    ScanEvent,
)
from spectrum_tui.core.journal import Entry, Journal
from spectrum_tui.core.metrics import FAILED, ONE_DIMENSIONAL, every_metric
from spectrum_tui.core.naming import Layer
from spectrum_tui.core.naming.parameters import MatrixRef
from spectrum_tui.core.requests import METRIC, METRICS
from spectrum_tui.core.scores import UnscorableError, spectrum_score
from spectrum_tui.core.spectra_store import KeptSpectrum


class LayerWork:
    """One layer and the scores of its matrices so far.

    Its score is that of its only matrix, or the mean over the matrices of all its experts; it
    has none where one of them has none.
    """

    def __init__(self, layer: Layer, known: Mapping[str, Entry]) -> None:
        self.layer = layer
        self.metrics: dict[int, Mapping[str, float]] = {}
        self.problem = ""
        self.names = layer.matrix_names
        for index in range(len(layer.matrices)):
            if (entry := known.get(self.names[index])) is not None:
                self.metrics[index] = entry.metrics

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do; a 1-D weight scores 1.0 without doing anything."""
        return self.layer.one_dimensional or len(self.metrics) == len(self.layer.matrices)

    @property
    def missing(self) -> list[int]:
        """The matrices without a score."""
        return [i for i in range(len(self.layer.matrices)) if i not in self.metrics]

    @property
    def has_parts(self) -> bool:
        """Whether the layer is more than one matrix."""
        return len(self.layer.matrices) > 1

    def shape_of(self, index: int) -> tuple[int, ...]:
        """What is worked on: the parameter's own shape where it is one matrix."""
        matrix = self.layer.matrices[index]
        return (matrix.rows, matrix.columns) if self.has_parts else self.layer.shape

    def resumed(self) -> Iterator[ScanEvent]:
        """The events of what the journal already had."""
        if self.is_complete:
            yield self._done(self.layer.cost, self.layer.nbytes, 0.0, resumed=True)
        elif self.has_parts:
            for index in self.metrics:
                yield self._part_done(index, 0.0, resumed=True)

    def add(
        self, index: int, metrics: Mapping[str, float], seconds: float, problem: str = ""
    ) -> list[ScanEvent]:
        """Take in the scores of one matrix (NaN with a `problem`); the events that follow."""
        self.metrics[index] = metrics
        if problem and not self.problem:
            label = self.layer.matrices[index].label
            self.problem = f"{label}: {problem}" if label else problem
        events: list[ScanEvent] = []
        cost, nbytes = self.layer.cost, self.layer.nbytes
        if self.has_parts:
            events.append(self._part_done(index, seconds))
            cost = nbytes = 0  # reported part by part
        if self.is_complete:
            last = self._failed(cost) if self.problem else self._done(cost, nbytes, seconds)
            events.append(last)
        return events

    def _part_done(self, index: int, seconds: float, *, resumed: bool = False) -> MatrixDone:
        parts = len(self.layer.matrices)
        return MatrixDone(
            self.names[index],
            self.layer.type,
            self.metrics[index][METRIC],
            self.layer.cost / parts,
            self.layer.nbytes // parts,
            seconds,
            resumed,
        )

    def _done(
        self, cost: float, nbytes: int, seconds: float, *, resumed: bool = False
    ) -> LayerDone:
        layer = self.layer
        columns = self._columns()
        means = {name: math.fsum(values) / len(values) for name, values in columns.items()}
        metrics = means if layer.matrices else dict(ONE_DIMENSIONAL)
        labels = [matrix.label for matrix in layer.matrices]
        return LayerDone(
            layer.name,
            layer.type,
            layer.shape,
            metrics[METRIC],
            cost,
            nbytes,
            seconds,
            resumed,
            tuple(zip(labels, columns[METRIC], strict=True)) if self.has_parts else (),
            metrics,
            columns if self.has_parts else {},
        )

    def _columns(self) -> dict[str, tuple[float, ...]]:
        """{metric: its value for each matrix}."""
        matrices = [self.metrics[i] for i in range(len(self.layer.matrices))]
        return {name: tuple(m[name] for m in matrices) for name in METRICS} if matrices else {}

    def _failed(self, cost: float) -> LayerFailed:
        layer = self.layer
        return LayerFailed(layer.name, layer.type, layer.shape, self.problem, cost)


class Workers:
    """Daemon threads that take the costliest matrix first.

    Costliest first, so that no thread is left alone with the vocabulary matrix at the end.
    Daemon threads, because an executor's would hold the process at exit until their matrix is
    finished. `threads` of torch for each of them, 0 to leave torch's setting alone.
    """

    def __init__(
        self,
        layers: Sequence[LayerWork],
        journal: Journal,
        *,
        device: str,
        workers: int,
        threads: int,
    ) -> None:
        ordered = sorted(
            layers, key=lambda work: work.layer.cost / work.layer.matrix_count, reverse=True
        )
        self._todo = deque((work, index) for work in ordered for index in work.missing)
        self._journal = journal
        self._device = device
        self._workers = min(workers, len(self._todo))
        self._threads = threads
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._events: queue.SimpleQueue[ScanEvent | BaseException | None] = queue.SimpleQueue()

    def run(self, cancelled: Callable[[], bool]) -> Iterator[ScanEvent]:
        """The events of all layers, until none is left or the scan is cancelled."""
        running = self._workers
        with _torch_threads(self._threads):
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
            while not self._stop.is_set() and (task := self._take()) is not None:
                self._score(*task)
        except BaseException as exc:
            self._events.put(exc)
        finally:
            self._events.put(None)

    def _take(self) -> tuple[LayerWork, int] | None:
        with self._lock:
            return self._todo.popleft() if self._todo else None

    def _score(self, work: LayerWork, index: int) -> None:
        matrix = work.layer.matrices[index]
        name = work.names[index]
        self._events.put(LayerStarted(name, work.layer.type, work.shape_of(index)))
        begin = time.perf_counter()
        problem = ""
        try:
            entry, spectrum = self._score_of(name, matrix)
        except (UnscorableError, SpectrumError, RuntimeError, MemoryError) as exc:
            problem = reason_of(exc)
        seconds = time.perf_counter() - begin
        with self._lock:
            if not problem:
                self._journal.append(replace(entry, seconds=seconds), spectrum)
            events = work.add(index, FAILED if problem else entry.metrics, seconds, problem)
        for event in events:
            self._events.put(event)

    def _score_of(self, name: str, matrix: MatrixRef) -> tuple[Entry, KeptSpectrum]:
        rows, columns = matrix.rows, matrix.columns
        spectrum = spectra.singular_values(matrix.values, rows, columns, self._device)
        score = spectrum_score(spectrum.values, rows, columns)
        metrics = every_metric(spectrum.values, rows, columns, {METRIC: score.snr})
        kept = KeptSpectrum(spectrum.values, rows, columns)
        return Entry(name, score, 0.0, metrics=metrics), kept


def reason_of(exc: BaseException) -> str:
    """One line that says why a matrix has no score."""
    reason = exc.message if isinstance(exc, SpectrumError) else str(exc)
    return next(iter(reason.strip().splitlines()), type(exc).__name__)


class _torch_threads:  # noqa: N801  (reads as a statement: with _torch_threads(...))
    """Torch's number of threads for a while; its own setting comes back."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)

    def __exit__(self, *exc: object) -> None:
        import torch

        torch.set_num_threads(self._before)
