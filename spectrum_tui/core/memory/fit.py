"""The largest choice that a memory holds, and where there is none what would fit instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.presets import PRESETS, SHARDINGS, Training
from spectrum_tui.core.selection import NEVER

GPU_COUNTS = (2, 4, 8, 16, 32, 64, 128, 256)
"""More of them that are tried."""


@dataclass(frozen=True, slots=True)
class Way:
    """Something else that fits: in words, with the percentage that it allows."""

    words: str
    percent: int
    training: Training
    head: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer: the highest `percent` that fits, 0 where none does, and then the `ways` that
    would; `needs` are the bytes at `percent`, or at the smallest choice."""

    limit: float
    percent: int
    needs: float
    ways: tuple[Way, ...] = ()

    @property
    def text(self) -> str:
        """One sentence."""
        room, needs = numbers.size(self.limit), numbers.size(self.needs)
        if self.percent:
            return f"The top {self.percent} % fit into {room}: about {needs}"
        return f"Not even the smallest choice fits into {room}: it takes about {needs}"


def fit(table: MemoryTable, limit: float, training: Training, *, head: bool, least: int = 1) -> Fit:
    """The highest percentage of at most `limit` bytes on a GPU.

    `least` is the smallest percentage that selects anything (`Selection.smallest_percent`).
    """
    if least == NEVER:
        return Fit(limit, 0, float(table.totals(training, head=head)[100]))
    totals = table.totals(training, head=head)
    percent = _highest(totals, limit, least)
    if percent:
        return Fit(limit, percent, float(totals[percent]))
    ways = tuple(_ways(table, limit, training, head, least))
    return Fit(limit, 0, float(totals[least]), ways)


def _highest(totals: np.ndarray[tuple[int], np.dtype[np.float64]], limit: float, least: int) -> int:
    """0 where none fits."""
    fitting = np.flatnonzero(totals <= limit)
    highest = int(fitting[-1]) if len(fitting) else 0
    return highest if highest >= least else 0


def _ways(
    table: MemoryTable, limit: float, training: Training, head: bool, least: int
) -> Iterator[Way]:
    """What would fit: fewer things first, other machines last."""

    def fits(other: Training, with_head: bool) -> int:
        return _highest(table.totals(other, head=with_head), limit, least)

    if head and not training.preset.adapters and (percent := fits(training, False)):
        yield Way("embeddings and head frozen", percent, training, False)
    if not training.checkpointing:
        saving = replace(training, checkpointing=True)
        if percent := fits(saving, head):
            yield Way("gradient checkpointing", percent, saving, head)
    for preset in PRESETS:
        other = replace(training, preset=preset)
        if preset is not training.preset and (percent := fits(other, head)):
            yield Way(preset.title, percent, other, head)
    yield from _more_gpus(fits, training, head)


def _more_gpus(fits: object, training: Training, head: bool) -> Iterator[Way]:
    assert callable(fits)
    for sharding in (training.sharding, SHARDINGS[2]):
        for gpus in GPU_COUNTS:
            other = replace(training, gpus=gpus, sharding=sharding)
            if gpus > training.gpus and (percent := fits(other, head)):
                yield Way(f"{gpus} GPUs with {sharding.title}", percent, other, head)
                return
