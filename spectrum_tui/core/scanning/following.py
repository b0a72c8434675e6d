"""A second scan of a model: it follows the journal of the first, and goes on when that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from spectrum_tui.core.events import ScanEvent
from spectrum_tui.core.journal.journal import Entry
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.scanning.layers import LayerWork

_LOOKS = 5
_BETWEEN = 0.1
"""Seconds between two looks at whether the scan is cancelled; the journal is read at each fifth."""


def turn(
    lock: ScanLock, new_entries: Callable[[], list[Entry]], cancelled: Callable[[], bool]
) -> Iterator[tuple[list[Entry], bool]]:
    """Yield (what the scan that has the lock has finished since, whether the lock is ours), until
    it is or the scan is cancelled."""
    while not lock.take():
        yield new_entries(), False
        for _ in range(_LOOKS):
            if cancelled():
                return
            time.sleep(_BETWEEN)
    yield new_entries(), True


class Followed:
    """The layers of a scan, and what becomes of them by scores that others computed; `notes` are
    what stands in the provenance of how those read the values."""

    def __init__(self, works: Sequence[LayerWork]) -> None:
        self.notes: tuple[str, ...] = ()
        self._place = {name: (work, i) for work in works for i, name in enumerate(work.names)}

    def take(self, entries: Iterable[Entry]) -> Iterator[ScanEvent]:
        """Take in what is new, or more exact than what was known; the events that follow."""
        for entry in entries:
            work, index = self._place.get(entry.layer, (None, 0))
            if work is None or work.problem:
                continue
            if index not in work.metrics:
                # It took no time of ours: 0 seconds leave the estimate alone.
                events: Iterable[ScanEvent] = work.add(index, entry.metrics, 0.0, error=entry.error)
            elif entry.error < work.errors[index]:
                events = work.refine(index, entry.metrics, entry.error)
            else:
                continue
            self.notes = tuple(dict.fromkeys((*self.notes, *entry.read_notes)))
            yield from events
