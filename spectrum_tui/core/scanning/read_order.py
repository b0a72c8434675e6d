"""In which order the matrices of a scan are read and scored, and how: settled before they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import SimpleQueue

from spectrum_tui.core.events import ScanEvent
from spectrum_tui.core.naming.extents import extents_of
from spectrum_tui.core.scanning.layers import LayerWork

Order = tuple[tuple[LayerWork, int], ...]
"""Matrices, each as a layer and its place there."""

Events = SimpleQueue[ScanEvent | BaseException | None]
"""What threads tell whoever runs a scan: events, errors that end it, None as one of them ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How matrices are read: in this `order`.

    `ranges` and `unmarked` are what an entry of the journal says of it. `scored` is called with the
    name of each matrix that is done, before its event; `events` tell of what is read. `waited` are
    the seconds for which the thread that asks has waited for values so far: they are no work.
    """

    order: Order
    ranges: str = ""
    unmarked: bool = False
    scored: Callable[[str], None] = lambda name: None
    events: Events = field(default_factory=SimpleQueue)
    waited: Callable[[], float] = lambda: 0.0


def costliest_first(works: Iterable[LayerWork]) -> Order:
    """Return the matrices that layers lack, so that no thread is left alone with the vocabulary
    matrix at the end."""
    ordered = sorted(works, key=lambda work: work.matrix_cost, reverse=True)
    return tuple((work, index) for work in ordered for index in work.missing)


def forward(order: Order) -> Order:
    """Return the matrices as they lie in their files, for such as are read on demand.

    hf-mount fetches ahead of each read and keeps 10 GB: a model larger than that is fetched 1.7
    times where the costliest matrices come first, and 1.15 times in this order.
    """
    return tuple(sorted(order, key=lambda task: _place(*task)))


def _place(work: LayerWork, index: int) -> tuple[str, int]:
    """Return where the first byte of a matrix lies; ("", 0) for one without any."""
    extents = extents_of(work.layer.matrices[index])
    return min(((extent.file, extent.start) for extent in extents), default=("", 0))


def file_by_file(order: Order, files: Iterable[str]) -> tuple[Order, frozenset[str]]:
    """Return the matrices by the last file of these that each needs, and those files."""
    places = {name: place for place, name in enumerate(sorted(files))}

    def last(work: LayerWork, index: int) -> int:
        needed = [extent.file for extent in extents_of(work.layer.matrices[index])]
        return max((places[file] for file in needed if file in places), default=-1)

    at = {last(*task) for task in order}
    needed = frozenset(name for name, place in places.items() if place in at)
    return tuple(sorted(order, key=lambda task: last(*task))), needed
