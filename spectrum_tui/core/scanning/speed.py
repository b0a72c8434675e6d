"""How fast this machine computes scores, measured in a moment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

import numpy as np

from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.platforms import cores
from spectrum_tui.core.scanning.devices import (
    CPU,
    current,
    default_batch_size,
    full_float32,
    one_thread_each,
)
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import EXACT
from spectrum_tui.core.stored_types import Array

Shape = tuple[int, int]

QUICK: Shape = (512, 512)
"""What is measured where no model is known: 16 ms on a core, ten times."""

MOST_COST = 2.5e10
"""Work of what is measured, at the most: half a second on a core of `USUAL` speed."""

USUAL = 2e-11
"""Seconds per unit of `svd.cost` on a core of an AMD EPYC of 2023: what measuring may cost."""

SEVERAL = 3
"""Matrices of a shape from which it is a usual one: an embedding and a head are two."""

RUNS = 10
"""Of a small matrix, at the most."""

_measured: dict[tuple[str, Shape, str], float] = {}


def usual_shape(layers: Iterable[Layer]) -> Shape:
    """Return the shape that most of the work of a model is in: of its blocks, where it has any."""
    counts, work = Counter[Shape](), Counter[Shape]()
    for layer in layers:
        if layer.cost > 0:  # not 1-D, nor a single row
            counts[layer.rows, layer.columns] += layer.matrix_count
            work[layer.rows, layer.columns] += int(layer.cost)
    usual = [shape for shape, count in counts.items() if count >= SEVERAL]
    return max(usual or counts, key=work.__getitem__, default=QUICK)


def capped(shape: Shape, most: float = MOST_COST) -> Shape:
    """Return a shape of at most this work: shorter first, then smaller, its sides being told apart
    as they were."""
    rows, columns = shape
    short, long = min(shape), max(shape)
    side = short
    while side > 1 and svd.cost(side, side) > most:
        side = int(side * 0.98)
    while long > side and svd.cost(side, long) > most:
        long = max(side, int(long * 0.98))
    return (side, long) if rows < columns else (long, side)


def seconds_per_cost(device: str, shape: Shape = QUICK, precision: str = EXACT) -> float:
    """Seconds per unit of `svd.cost` on this device, all of it used: for a first estimate.

    Measured once, on a random matrix of that shape or of as much of it as takes half a second. A
    CPU scan has a worker on each core; a GPU is measured with as many at once as it gets. Raises
    what torch raises.
    """
    if device == "mps":
        device = CPU
    key = device, capped(shape), precision
    if key not in _measured:
        _measured[key] = _measure(*key)
    return _measured[key]


def rate_of(devices: Sequence[str], shape: Shape = QUICK, precision: str = EXACT) -> float:
    """Return the same of several devices that share the work."""
    return 1.0 / sum(1.0 / seconds_per_cost(device, shape, precision) for device in devices)


def worker_rate(
    layers: Iterable[Layer], cost: float, devices: Sequence[str], batch_size: int, precision: str
) -> float:
    """Return the seconds per unit of `svd.cost` of one of `batch_size` workers on each device,
    for work of `cost`; 0 where it is not worth to measure, or cannot be.

    A scan of a minute is worth half a second, one of five seconds the quick measurement.
    """
    expected = cost * USUAL / cores()
    if expected < 5:
        return 0.0
    shape = usual_shape(layers) if expected > 60 else QUICK
    try:
        return rate_of(devices, shape, precision) * batch_size * len(devices)
    except (RuntimeError, OSError, ImportError, MemoryError):  # whatever it is, the scan says it
        return 0.0


def _measure(device: str, shape: Shape, precision: str) -> float:
    on_cpu = device in (CPU, svd.TORCH_ON_CPU)
    at_once = 1 if on_cpu else default_batch_size(device, min(shape))
    work = work_of(device, shape, precision)
    with one_thread_each() if on_cpu else nullcontext(), full_float32([device]):
        _seconds(work, device, 1)  # loads kernels, and touches the memory
        runs = max(1, min(RUNS, int(MOST_COST / 3 // svd.cost(*shape))))
        # The mean, not the best: whatever else the machine does, it does during the scan too.
        mean = sum(_seconds(work, device, at_once) for _ in range(runs)) / runs
    shared = cores() if on_cpu else at_once
    return mean / svd.cost(*shape, precision) / shared


def work_of(device: str, shape: Shape, precision: str) -> Callable[[], object]:
    """Return what computes the values of one matrix."""
    matrix = svd.StoredMatrix(_Random(shape), *shape)

    def work() -> object:
        takes = svd.device_of(device).takes_float32(matrix.short)
        return svd.gram_singular_values(matrix, device, precision if takes else EXACT)

    return work


class _Random:
    """A matrix of numbers that look like weights."""

    by_rows = True

    def __init__(self, shape: Shape) -> None:
        self._values = np.random.default_rng(0).standard_normal(shape, np.float32)

    def read_rows(self, start: int, stop: int) -> Array:
        return self._values[start:stop]

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        return self._values[:rows, start:stop]


def _seconds(work: Callable[[], object], device: str, at_once: int) -> float:
    """Return how long the work takes, done by so many threads at once; raises what they raise."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with current(device):
                work()
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(at_once)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.perf_counter() - begin
