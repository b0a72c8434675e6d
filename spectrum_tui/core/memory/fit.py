"""The largest choice that a memory holds, and where there is none what would fit instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.presets import PRESETS, SHARDINGS, Training, preset_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import NEVER

GPU_COUNTS = (2, 4, 8, 16, 32, 64, 128, 256)
"""How many are tried where one is not enough."""


@dataclass(frozen=True, slots=True)
class Way:
    """Something else that fits: what it is in words, and the percentage that it allows."""

    words: str
    percent: float
    training: Training
    embeddings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The highest whole `percent` that fits, or where only the smallest choice does, its `least`; 0
    where nothing does, and then the `ways` that would. `needs` are the bytes at `percent`, or of
    the smallest choice."""

    limit: float
    percent: float
    needs: float
    least: float
    ways: tuple[Way, ...] = ()

    @property
    def text(self) -> str:
        """One sentence."""
        room, needs = room_text(self.limit), numbers.size(self.needs)
        if self.percent:
            return f"{room} hold the top {self.percent:g} %, which takes about {needs}"
        if self.least == NEVER:
            return "No layer has a score, so there is nothing to select"
        return f"Not even the top {self.least:g} % fits into {room}: it takes about {needs}"


def room_text(limit: float) -> str:
    """Return the memory of a GPU as it was meant, and as the estimates are written.

    >>> room_text(24 * 2**30), room_text(24e9)
    ('24 GiB (25.8 GB)', '24.0 GB')
    """
    gib = limit / 2**30
    whole = abs(gib * 10 - round(gib * 10)) < 1e-6
    return f"{gib:g} GiB ({numbers.size(limit)})" if whole else numbers.size(limit)


@dataclass(frozen=True, eq=False)
class _Search:
    table: MemoryTable
    limit: float
    policy: Policy
    least: float

    def percent(self, training: Training, embeddings: bool) -> float:
        """Return the highest whole one that fits, or the least; 0 where neither does."""
        policy = replace(self.policy, embeddings=embeddings)
        fitting = np.flatnonzero(self.table.totals(policy, training) <= self.limit)
        highest = int(fitting[-1]) if len(fitting) else 0
        if highest >= self.least:
            return highest
        smallest = replace(policy, percent=self.least)
        fits = self.least != NEVER and self.table.estimate(smallest, training).total <= self.limit
        return self.least if fits else 0

    def way(self, words: str, training: Training, embeddings: bool) -> Iterator[Way]:
        """Yield it, if anything of it fits."""
        if percent := self.percent(training, embeddings):
            yield Way(words, percent, training, embeddings)

    def ways(self, training: Training, embeddings: bool) -> Iterator[Way]:
        """Yield what is done on the same machine first, more of it last."""
        if embeddings and not training.preset.adapters:
            yield from self.way("embeddings and head frozen", training, False)
        if not training.checkpointing:
            saving = replace(training, checkpointing=True)
            yield from self.way("gradient checkpointing", saving, embeddings)
        for preset in PRESETS:
            if preset is not training.preset:
                yield from self.way(preset.title, replace(training, preset=preset), embeddings)
        least = replace(training, preset=preset_named("qlora"))
        if not training.checkpointing and not self.percent(least, embeddings):
            words = f"{least.preset.title} with gradient checkpointing"
            yield from self.way(words, replace(least, checkpointing=True), embeddings)
        yield from self._more_gpus(training, embeddings)

    def _more_gpus(self, training: Training, embeddings: bool) -> Iterator[Way]:
        """Yield the fewest with the sharding as it is, or else with the one that divides all."""
        for sharding in (training.sharding, SHARDINGS[2]):
            for gpus in GPU_COUNTS:
                more = replace(training, gpus=gpus, sharding=sharding)
                words = f"{gpus} GPUs, {sharding.title}"
                found = list(self.way(words, more, embeddings)) if gpus > training.gpus else []
                if found:
                    yield from found
                    return


def fit(table: MemoryTable, limit: float, policy: Policy, training: Training) -> Fit:
    """Return the highest percentage of a policy that takes at most `limit` bytes on each GPU."""
    policy = policy.without_budget()
    least = table.selection.smallest_percent(policy)
    search = _Search(table, limit, policy, least)
    percent = search.percent(training, policy.embeddings)
    smallest = replace(policy, percent=percent or min(least, 100))
    needs = table.estimate(smallest, training).total
    ways = () if percent or least == NEVER else tuple(search.ways(training, policy.embeddings))
    return Fit(limit=limit, percent=percent, needs=needs, least=least, ways=ways)
