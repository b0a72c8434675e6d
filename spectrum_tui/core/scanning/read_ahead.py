"""Bytes of a remote model, fetched before the matrices that they make up are scored.

A fixed pool of slots holds what has come. Whoever reads never waits for a slot: what nobody has
begun to fetch, it fetches itself, so that no order of matrices can come to a standstill. A slot is
given back once its matrix is scored, as a QR decomposition reads a second time; a quarter of the
pool keeps what was just read, the rest of it goes as soon as another segment needs the room.

All connections bring parts of the first segment that is not there yet, of a length that takes each
of them half a second: on a slow line one segment a connection would begin many matrices and finish
none.

A wide matrix is read in strips of columns, each of which needs all of its rows. What the pool has
no room for is kept on the disk until it is scored; without room there, each strip fetches all of it
anew.

Where the pool is full the CPU is the limit: then one connection fetches, as more of them would only
take the interpreter from those who compute, until somebody finds that a segment is not there.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Protocol

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces
from spectrum_tui.core.scanning.read_plan import Key, PlannedRange, ReadPlan
from spectrum_tui.core.scanning.scratch import Scratch

SEGMENT = 4 * 2**20
"""Bytes that are fetched at once at the most, and of a slot: 0.3 s at 100 MB/s, shared by 8."""

PART = 128 * 2**10
"""Bytes that a connection fetches at once at the least; twice as many at first."""

PART_SECONDS = 0.5
"""How long a part of a segment takes a connection."""

POOL = 128 * 2**20
"""Bytes of all slots."""

CONNECTIONS = 8
"""Parts that are fetched at a time."""

Part = tuple[PlannedRange, int, int]
"""A segment, and from where to where in it."""


class Fetcher(Protocol):
    """What brings a range of a file."""

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer from byte `start` of a file."""
        ...


class ReadAhead:
    """A source of bytes that fetches what its plan says, in that order, as far as its slots go."""

    def __init__(
        self,
        fetcher: Fetcher,
        plan: ReadPlan,
        scratch: Scratch,
        *,
        slots: int = POOL // SEGMENT,
        segment: int = SEGMENT,
        connections: int = CONNECTIONS,
        part: int = PART,
    ) -> None:
        self._fetcher, self._plan, self._scratch = fetcher, plan, scratch
        self._segment = segment
        self._pool: list[bytearray | None] = [None] * max(1, slots)
        self._free = list(range(len(self._pool)))
        self._read: OrderedDict[int, PlannedRange] = OrderedDict()
        self._open: list[PlannedRange] = []
        self._part, self._length, self._pace = part, 2 * part, 0.0
        self._next = 0
        self._closed = False
        self._allowed = self._most = connections
        self._fetching = 0
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._fetch_all, name="read-ahead", daemon=True)
            for _ in range(connections if plan.segments else 0)
        ]

    def start(self) -> None:
        """Begin to fetch."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Fetch nothing ahead any more; whoever still reads fetches for itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def release(self, key: Key) -> None:
        """Give back what was fetched for a matrix that is scored, and fetch no more for it."""
        with self._changed:
            for segment in self._plan.of(key):
                segment.wanted.discard(key)
                if not segment.wanted:
                    self._leave(segment)
            self._changed.notify_all()

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill the buffers; raises what the fetcher does."""
        listed = list(pieces)
        strip = _Strip(self._fetcher) if len(listed) > 1 else None
        for buffer, offset in listed:
            self._fill(tensor.file, offset, buffer, strip)

    # -- fetching ------------------------------------------------------------------------------

    def _fetch_all(self) -> None:
        while (part := self._take()) is not None:
            self._bring(*part)
            with self._changed:
                self._fetching -= 1
                self._changed.notify_all()

    def _take(self) -> Part | None:
        """Return the next part, of a segment with a slot; None where nothing is to be fetched any
        more."""
        with self._changed:
            while True:
                while self._next < len(self._plan.segments) and not self._is_next():
                    self._next += 1
                none_left = self._next == len(self._plan.segments) and not self._open
                if self._closed or none_left:
                    return None
                if self._fetching < self._allowed:
                    if self._open or self._free or self._make_room():
                        break
                    self._allowed = 1
                self._changed.wait()
            if not self._open:
                self._place(self._plan.segments[self._next])
                self._next += 1
            self._fetching += 1
            return self._part_of(self._open[0])

    def _part_of(self, segment: PlannedRange) -> Part | None:
        """Return the next part of a segment that is coming; None where others bring all of it."""
        first, last = segment.taken, min(segment.taken + self._length, segment.nbytes)
        if segment.state != "coming" or first == segment.nbytes:
            return None
        if segment.nbytes - last < self._part:
            last = segment.nbytes
        segment.taken, segment.flying = last, segment.flying + 1
        if last == segment.nbytes:
            self._open.remove(segment)
        return segment, first, last

    def _place(self, segment: PlannedRange) -> None:
        """Give a segment a free slot, to be fetched into."""
        segment.slot = self._free.pop()
        slot = self._pool[segment.slot]
        if slot is None:  # made when it is first needed: a small model needs few
            slot = self._pool[segment.slot] = bytearray(self._segment)
        self._begin(segment, memoryview(slot)[: segment.nbytes])
        self._open.append(segment)

    def _begin(self, segment: PlannedRange, data: memoryview) -> None:
        segment.data, segment.state = data, "coming"
        segment.taken = segment.came = 0

    def _is_next(self) -> bool:
        return self._plan.segments[self._next].state == "waiting"

    def _make_room(self) -> bool:
        """Drop what was read longest ago, beyond the quarter of the pool that keeps it."""
        if len(self._read) <= len(self._pool) // 4:
            return False
        _, segment = self._read.popitem(last=False)
        self._drop(segment)
        return True

    def _bring(self, segment: PlannedRange, first: int, last: int) -> None:
        assert segment.data is not None
        begin, has_come = time.monotonic(), True
        try:
            self._fetcher.fetch(segment.file, segment.start + first, segment.data[first:last])
        except BaseException:  # of any kind: whoever reads it meets it, and fetches for itself
            has_come = False
        with self._changed:
            segment.flying -= 1
            if has_come:
                segment.came += last - first
                self._measure(last - first, time.monotonic() - begin)
            else:
                self._closed = True
                self._give_up(segment)
            is_to_move = self._settle(segment)
            self._changed.notify_all()
        if is_to_move:
            self._put_away(segment)

    def _measure(self, count: int, seconds: float) -> None:
        """Choose the length of further parts by how fast this one came."""
        pace = count / max(seconds, 1e-3)
        self._pace = (self._pace + pace) / 2 if self._pace else pace
        self._length = max(self._part, int(self._pace * PART_SECONDS))

    def _give_up(self, segment: PlannedRange) -> None:
        """Bring no further part of a segment."""
        if segment in self._open:
            self._open.remove(segment)
        segment.taken = segment.nbytes

    def _settle(self, segment: PlannedRange) -> bool:
        """Note that a segment is there, or that it will not be, once no part is on its way; return
        whether it is to be moved to the disk."""
        if segment.flying or segment.taken < segment.nbytes:
            return False
        if segment.came < segment.nbytes or not segment.wanted:
            self._drop(segment)
            return False
        segment.state = "here" if segment.slot >= 0 else "moving"
        return segment.slot < 0

    def _put_away(self, segment: PlannedRange) -> None:
        """Move a segment from the memory to its place on the disk."""
        assert segment.data is not None
        is_kept = self._scratch.write(segment.place, segment.data)
        with self._changed:
            segment.data, segment.state = None, "here"
            if not is_kept:
                segment.place = -1
            if not is_kept or not segment.wanted:
                self._drop(segment)
            self._changed.notify_all()

    def _leave(self, segment: PlannedRange) -> None:
        """Forget a segment that no matrix wants any more; what is on its way of it still comes."""
        if segment.state == "coming":
            self._give_up(segment)
            self._settle(segment)
        elif segment.state != "moving":  # whoever moves it drops it
            self._drop(segment)

    def _drop(self, segment: PlannedRange) -> None:
        """Forget the data of a segment of which nothing is on its way."""
        segment.state = "gone"
        self._read.pop(id(segment), None)
        if segment.slot >= 0:
            self._free.append(segment.slot)
            segment.slot = -1
        if segment.place >= 0:
            self._scratch.give_back(segment.place)
            segment.place = -1
        segment.data = None

    # -- reading -------------------------------------------------------------------------------

    def _fill(self, file: str, offset: int, buffer: memoryview, strip: _Strip | None) -> None:
        at, end = offset, offset + len(buffer)
        while at < end:
            segment, stop = self._plan.find(file, at)
            stop = min(stop, end)
            target = buffer[at - offset : stop - offset]
            if segment is None:
                self._fetcher.fetch(file, at, target)
            elif not self._copied(segment, at, target, is_strip=strip is not None):
                if strip is None:
                    self._fetcher.fetch(file, at, target)
                else:
                    strip.copy(segment, at, target)
            at = stop

    def _copied(
        self, segment: PlannedRange, at: int, target: memoryview, *, is_strip: bool
    ) -> bool:
        """Copy from a segment that is there or coming; False where the reader is to fetch."""
        with self._changed:
            if segment.state in ("waiting", "coming") and self._allowed < self._most:
                self._allowed = self._most
                self._changed.notify_all()
            bring = segment.state in ("waiting", "gone")
            if bring and not self._has_place(segment, is_strip=is_strip):
                segment.state = "gone"
                return False
        while (part := self._next_of(segment)) is not None:
            self._bring(*part)
        first = at - segment.start
        with self._changed:
            while segment.state in ("coming", "moving"):
                self._changed.wait()
            place = segment.place
            if segment.state != "here":
                return False
            if segment.data is not None:
                target[:] = segment.data[first : first + len(target)]
            self._was_read(segment, len(target))
        if place < 0:
            return True
        was_read = self._scratch.read_into(place, first, target)
        with self._changed:  # whoever takes the place after that overwrites it
            return was_read and segment.place == place

    def _has_place(self, segment: PlannedRange, *, is_strip: bool) -> bool:
        """Return whether a reader can bring a segment for all of its matrix: into a free slot, or
        to the disk where strips are read."""
        if segment.state == "waiting" and (self._free or self._make_room()):
            self._place(segment)
            self._open.insert(0, self._open.pop())  # somebody waits for it
            return True
        segment.place = self._scratch.take() if is_strip else -1
        if segment.place < 0:
            return False
        self._begin(segment, memoryview(bytearray(segment.nbytes)))
        self._open.insert(0, segment)
        return True

    def _next_of(self, segment: PlannedRange) -> Part | None:
        with self._changed:
            return self._part_of(segment)

    def _was_read(self, segment: PlannedRange, count: int) -> None:
        segment.unread -= count
        if segment.slot >= 0 and segment.unread <= 0:
            self._read[id(segment)] = segment
            self._read.move_to_end(id(segment))
            self._changed.notify_all()


class _Strip:
    """What is fetched for one strip of columns alone: the segment that its row is in."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._segment: PlannedRange | None = None
        self._data = memoryview(b"")

    def copy(self, segment: PlannedRange, at: int, target: memoryview) -> None:
        """Fill the buffer from byte `at` of the file, which is in this segment."""
        if segment is not self._segment:
            self._segment, self._data = None, memoryview(bytearray(segment.nbytes))
            self._fetcher.fetch(segment.file, segment.start, self._data)
            self._segment = segment
        first = at - segment.start
        target[:] = self._data[first : first + len(target)]
