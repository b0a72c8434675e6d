"""What is fetched for a scan, in the order in which its matrices are scored."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from spectrum_tui.core.naming.extents import Extent, extents_of, shared_conversion
from spectrum_tui.core.scanning.layers import LayerWork

Key = str
"""The name of a matrix."""


@dataclass(slots=True, eq=False, kw_only=True)
class PlannedRange:
    """A range that is fetched at once, for the matrices `wanted` by name.

    Its `state` is "waiting" until somebody begins to fetch it, then "coming"; "here" once `data`
    holds it, in the pool's `slot` if that is not -1, or the scratch file's `place`, which it is
    "moving" to before; "gone" when it is not to be had any more. `unread` counts the bytes that
    its matrices will still read of it. Of its parts, `taken` bytes are given out to be fetched,
    `came` are there, and `flying` are on their way.
    """

    file: str
    start: int
    end: int
    wanted: set[Key] = field(default_factory=set)
    unread: int = 0
    state: str = "waiting"
    data: memoryview | None = None
    slot: int = -1
    place: int = -1
    taken: int = 0
    came: int = 0
    flying: int = 0

    @property
    def nbytes(self) -> int:
        """Its length."""
        return self.end - self.start


class ReadPlan:
    """The segments of all matrices in order, none longer than `longest` bytes, and where to find
    them; those in other files than these are read as they are needed."""

    def __init__(
        self, order: Iterable[tuple[LayerWork, int]], longest: int, files: Collection[str]
    ) -> None:
        self.segments: list[PlannedRange] = []
        self._longest = longest
        self._of: dict[Key, list[PlannedRange]] = defaultdict(list)
        self._starts: dict[str, list[int]] = defaultdict(list)
        self._at: dict[str, list[PlannedRange]] = defaultdict(list)
        converted: set[int] = set()
        for work, index in order:
            matrix = work.layer.matrices[index]
            group = shared_conversion(matrix)
            if group not in converted:
                for extent in extents_of(matrix):
                    if extent.file in files:
                        self._add(work.names[index], extent)
            if group:
                converted.add(group)

    @property
    def nbytes(self) -> int:
        """Bytes to fetch, each counted once."""
        return sum(segment.nbytes for segment in self.segments)

    def of(self, key: Key) -> list[PlannedRange]:
        """Return the segments of a matrix, and forget it."""
        return self._of.pop(key, [])

    def find(self, file: str, at: int) -> tuple[PlannedRange | None, int]:
        """Return the segment that holds byte `at` of a file and where it ends; without one, None
        and where the next begins."""
        starts, segments = self._starts[file], self._at[file]
        place = bisect_right(starts, at)
        if place and at < segments[place - 1].end:
            return segments[place - 1], segments[place - 1].end
        return None, starts[place] if place < len(starts) else 2**63

    def _add(self, key: Key, extent: Extent) -> None:
        at = extent.start
        while at < extent.end:
            found, stop = self.find(extent.file, at)
            end = min(stop, extent.end, at + self._longest)
            if found is None:
                found = self._new(extent.file, at, end)
            # Of a segment that two matrices need (gate and up in one), both read their part.
            found.wanted.add(key)
            found.unread += end - at
            self._of[key].append(found)
            at = end

    def _new(self, file: str, start: int, end: int) -> PlannedRange:
        segment = PlannedRange(file=file, start=start, end=end)
        place = bisect_right(self._starts[file], start)
        self._starts[file].insert(place, start)
        self._at[file].insert(place, segment)
        self.segments.append(segment)
        return segment
