"""The matrices of a scan in work: threads that score them, on one device or several."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from spectrum_tui.core.errors import HubError, ModelChangedError, OutOfReachError, OutputError
from spectrum_tui.core.events import LayerStarted, ScanEvent, ScanNote
from spectrum_tui.core.journal.journal import Entry
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.naming.parameters import MatrixRef
from spectrum_tui.core.numbers import counted, size
from spectrum_tui.core.platforms import known_free
from spectrum_tui.core.scanning.absence import Absence, Alone
from spectrum_tui.core.scanning.devices import (
    CPU,
    current,
    full_float32,
    is_out_of_memory,
    load_solvers,
    one_thread_each,
    refuse_if_lost,
    release,
    too_large,
)
from spectrum_tui.core.scanning.gpus import library_fault
from spectrum_tui.core.scanning.layers import LayerWork, held_bytes, memory_need
from spectrum_tui.core.scanning.read_order import Reading
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.metrics import FAILED, every_metric
from spectrum_tui.core.scoring.sharing import Sharing, helped_by, helping
from spectrum_tui.core.scoring.snr import why_unscored

log = logging.getLogger(__name__)

Scored = tuple[Entry, KeptSpectrum]
"""What is written down of a matrix."""


@dataclass(frozen=True, slots=True)
class Setback:
    """Why a matrix is tried elsewhere: a `fault` of the device's libraries, or memory if empty."""

    fault: str = ""


class Keeper(Protocol):
    """What takes a score before it is told of: a journal."""

    def append(self, entry: Entry, spectrum: KeptSpectrum | None = None) -> None:
        """Keep a matrix's scores and singular values."""
        ...


class WorkerPool:
    """The threads of one device, and how many matrices may be in work on it at once.

    `limit` only ever falls: memory that ran out once would run out again.
    """

    def __init__(self, device: str, limit: int) -> None:
        self.device = device
        self.limit = self.threads = limit
        self.put_back: set[str] = set()
        self.on_cpu: set[str] = set()
        self.faults: dict[str, set[str]] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What went otherwise than planned, a line for each reason."""
        faults = (
            f"{self.device}: {fault}: {_matrices(names)} computed on the CPU."
            for fault, names in self.faults.items()
        )
        return (*filter(None, [self._memory_note]), *faults)

    @property
    def _memory_note(self) -> str:
        """What memory that ran out changed; empty where it did not."""
        if not self.put_back and not self.on_cpu:
            return ""
        parts = []
        if self.put_back:
            parts.append(f"{_matrices(self.put_back)} tried again, {self.limit} at a time")
        if self.on_cpu:
            parts.append(f"{_matrices(self.on_cpu)} computed on the CPU")
        return f"{self.device} ran out of memory: {'; '.join(parts)}."


def _matrices(names: set[str]) -> str:
    return counted(len(names), "matrix was", "matrices were")


class Workers:
    """Daemon threads that take one matrix after the other, `workers` of them on each device.

    They read as `reading` says, and join their events to its. Daemon threads, because an
    executor's would hold the process at exit until their matrix is finished. On a CPU each computes
    with one thread. One that is between two matrices helps with the parts of the longest ones
    first, and so do `helpers` threads that have none of their own: no score depends on either
    number.

    A matrix that does not fit into a device's memory goes back, and half as many are in work
    there from then on; one that does not fit alone is computed on the CPU, and so is one that a
    library of the device fails at.

    `cpu` is what `svd` calls the library that computes on a CPU.
    """

    def __init__(
        self,
        reading: Reading,
        journal: Keeper,
        *,
        devices: Sequence[str],
        precision: str,
        workers: int,
        helpers: int,
        cpu: str = CPU,
    ) -> None:
        self._reading, self._journal = reading, journal
        self._todo, self._events = deque(reading.order), reading.events
        self._pools = [WorkerPool(device, min(workers, len(self._todo))) for device in devices]
        self._precision = precision
        self._cpu = cpu
        on_cpu = list(devices) == [CPU]
        self._one_thread_each = one_thread_each if on_cpu else nullcontext
        self._sharing = Sharing(self._pools[0].threads + helpers) if on_cpu else None
        self._helpers = helpers
        self._free = known_free()  # before anything is in work
        self._lock = threading.Lock()
        self._cpu_turn = threading.Lock()
        self._stop = threading.Event()
        self._absence = Absence(self._stop.wait, lambda text: self._events.put(ScanNote(text)))
        self._running: list[threading.Thread] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What went otherwise than planned, a line for each device and reason."""
        return tuple(note for pool in self._pools for note in pool.notes)

    @property
    def on_cpu(self) -> frozenset[str]:
        """The matrices that did not fit into their device, or that its libraries failed at: they
        were computed on the CPU."""
        sets = (names for pool in self._pools for names in (pool.on_cpu, *pool.faults.values()))
        return frozenset().union(*sets)

    def run(self, cancelled: Callable[[], bool]) -> Iterator[ScanEvent]:
        """Yield the events of all layers, until none is left or the scan is cancelled."""
        self._running = [
            threading.Thread(target=self._work, args=(pool,), daemon=True)
            for pool in self._pools
            for _ in range(pool.threads)
        ]
        if cancelled():  # already: the threads might score several matrices before the first look
            self._stop.set()
        for pool in self._pools:
            load_solvers(pool.device)
        with (
            full_float32(pool.device for pool in self._pools),
            self._one_thread_each(),
            helping(self._sharing, self._helpers),
        ):
            for thread in self._running:
                thread.start()
            left = len(self._running)
            while left:
                event = self._next(cancelled)
                if event is None:
                    left -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield event

    def close(self) -> None:
        """Begin nothing new, and wait for the matrices in work: they are still written down, and
        a thread inside torch at the interpreter's end would abort the process (exit code 134)."""
        self._stop.set()
        for thread in self._running:
            if thread.ident is not None:
                thread.join()

    def _next(self, cancelled: Callable[[], bool]) -> ScanEvent | BaseException | None:
        """Return the next event; looks ten times a second whether the scan is cancelled."""
        while True:
            if cancelled():
                self._stop.set()
            try:
                return self._events.get(timeout=0.1)
            except queue.Empty:
                continue

    def _work(self, pool: WorkerPool) -> None:
        try:
            with current(pool.device), helped_by(self._sharing):
                while (task := self._take(pool)) is not None:
                    self._score(pool, *task)
                    self._help()
        except BaseException as exc:
            self._events.put(exc)
        finally:
            self._events.put(None)

    def _help(self) -> None:
        while self._sharing is not None and self._sharing.help():
            pass

    def _take(self, pool: WorkerPool) -> tuple[LayerWork, int, int] | None:
        """Return the next matrix, and how many may be in work on the device together with it,
        itself included: 1 means alone from begin to end, since the limit never rises.

        None ends the thread: nothing is left, or more threads than the pool's limit are there.
        """
        with self._lock:
            if self._stop.is_set() or not self._todo or pool.threads > pool.limit:
                pool.threads -= 1
                return None
            return *self._todo.popleft(), pool.limit

    def _score(self, pool: WorkerPool, work: LayerWork, index: int, at_once: int) -> None:
        name = work.names[index]
        shape = work.shape_of(index)
        self._events.put(LayerStarted(name, work.layer.type, shape, work.matrix_cost))
        begin = self._worked()
        need = memory_need(work.layer) if pool.device == CPU else held_bytes(work.layer)
        score = too_large(need, self._free) or self._attempt(work, index, pool.device)
        if isinstance(score, Setback):
            release(pool.device)
            if at_once > 1 and not score.fault:
                self._put_back(pool, work, index, at_once)
                return
            score = self._without_the_device(pool, work, index, score.fault)
        self._keep(work, index, score, max(0.0, self._worked() - begin))

    def _worked(self) -> float:
        """Return a clock of this thread that stands still while it waits for values."""
        return time.perf_counter() - self._reading.waited()

    def _attempt(self, work: LayerWork, index: int, device: str) -> Scored | str | Setback:
        """Return the score, or why there is none, or why it is worth another try.

        Raises what concerns every other matrix too: ScanError for a device that is lost,
        ModelChangedError for files that are not those that were inspected, HubError where they are
        read over a network that is gone, OutOfReachError where their mount is, OutputError for a
        disk without room for them.
        """
        try:
            return self._score_of(work.names[index], work.layer.matrices[index], device)
        except (ModelChangedError, HubError, OutOfReachError, OutputError):
            raise
        except Exception as exc:  # whatever is wrong with one matrix, the others are scored
            if is_out_of_memory(exc):
                return Setback()
            log.info("%s has no score", work.names[index], exc_info=exc)
            refuse_if_lost(device, exc)
            fault = library_fault(exc) if device != CPU else ""
            return Setback(fault) if fault else why_unscored(exc)

    def _put_back(self, pool: WorkerPool, work: LayerWork, index: int, at_once: int) -> None:
        """For another try, among half as many: several that fail together halve it once."""
        with self._lock:
            self._todo.appendleft((work, index))
            pool.limit = min(pool.limit, at_once // 2)
            pool.put_back.add(work.names[index])

    def _without_the_device(
        self, pool: WorkerPool, work: LayerWork, index: int, fault: str
    ) -> Scored | str:
        """Return the score of a matrix that has the device to itself and still does not fit, or
        that its libraries fail at."""
        need = memory_need(work.layer)
        if pool.device != CPU:
            if reason := too_large(need, self._free):
                return reason
            with self._cpu_turn:  # what no GPU can take is not tried twice at once
                score = self._attempt(work, index, CPU)
            if not isinstance(score, Setback):
                self._moved(pool, fault).add(work.names[index])
                return score
        return f"not enough memory even for it alone on the CPU: it needs about {size(need)}"

    def _moved(self, pool: WorkerPool, fault: str) -> set[str]:
        """Return the names of what a device left to the CPU for this reason."""
        with self._lock:
            return pool.faults.setdefault(fault, set()) if fault else pool.on_cpu

    def _keep(self, work: LayerWork, index: int, score: Scored | str, seconds: float) -> None:
        """Write the score down, then report it."""
        with self._lock:
            if isinstance(score, str):
                events = work.add(index, FAILED, seconds, score)
            else:
                entry, spectrum = score
                made = time.time()
                entry = replace(entry, seconds=seconds, made=made)
                entry = replace(entry, ranges=self._reading.ranges, unmarked=self._reading.unmarked)
                self._journal.append(entry, spectrum)
                events = work.add(index, entry.metrics, seconds, error=entry.error)
        self._reading.scored(work.names[index])
        for event in events:
            self._events.put(event)

    def _score_of(self, name: str, matrix: MatrixRef, device: str) -> Scored:
        rows, columns = matrix.rows, matrix.columns
        spectrum = self._spectrum(matrix, self._cpu if device == CPU else device)
        error = spectrum.error if spectrum.error > svd.TOLERANCE[svd.EXACT] else 0.0
        metrics = every_metric(spectrum.values, rows, columns)
        entry = Entry(layer=name, metrics=metrics, error=error)
        return entry, KeptSpectrum(spectrum.values, rows, columns)

    def _spectrum(self, matrix: MatrixRef, on: str) -> svd.Spectrum:
        """Return the singular values, as soon as the files can be read."""
        rows, columns, alone = matrix.rows, matrix.columns, Alone()
        while True:
            try:
                found = svd.singular_values(matrix.values, rows, columns, on, self._precision)
            except OutOfReachError as exc:
                self._absence.wait(exc, alone.waits(exc))
            else:
                self._absence.over()
                return found
