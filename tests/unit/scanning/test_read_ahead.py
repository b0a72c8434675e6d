"""Whatever is read in whatever order, the bytes are right, and nothing comes to a standstill."""

from __future__ import annotations

import errno
import os
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.errors import HubError
from spectrum_tui.core.naming.extents import Extent, extents_of
from spectrum_tui.core.naming.parameters import MatrixRef, StoredSource, Window, plain_source
from spectrum_tui.core.scanning import read_ahead, read_plan, scratch
from spectrum_tui.core.scanning.read_ahead import ReadAhead
from spectrum_tui.core.scanning.read_plan import ReadPlan
from spectrum_tui.core.scanning.scratch import Scratch

FILE = "hub/model.safetensors"
LIMIT = 20.0
"""Seconds after which a run counts as one that stands still."""


class Line:
    """A file at the other end of a line: every range that is fetched of it, and random delays."""

    def __init__(self, size: int, seed: int = 0, slowest: float = 0.0) -> None:
        self.data = random.Random(seed).randbytes(size)
        self.fetched: Counter[int] = Counter()
        self.most = self.ranges = 0
        self.failing = False
        self._slowest, self._random = slowest, random.Random(seed)
        self._lock = threading.Lock()
        self._now = 0

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.ranges += 1
            delay = self._random.uniform(0, self._slowest)
        time.sleep(delay)
        if self.failing:
            raise HubError("The network is gone.")
        buffer[:] = self.data[start : start + len(buffer)]
        with self._lock:
            self._now -= 1
            self.fetched.update(range(start, start + len(buffer)))


@dataclass
class Model:
    """Matrices that lie in one file one after the other, each of 2-byte values."""

    matrices: list[MatrixRef]
    size: int

    @classmethod
    def of(cls, *shapes: tuple[int, int]) -> Model:
        matrices, at = [], 64
        for i, (rows, columns) in enumerate(shapes):
            end = at + 2 * rows * columns
            tensor = Tensor(
                name=f"m{i}", shape=(rows, columns), dtype="BF16", file=FILE, start=at, end=end
            )
            window = Window(plain_source(tensor), 0, columns)
            matrices.append(MatrixRef("", rows, columns, window))
            at = end
        return cls(matrices, at)

    @property
    def order(self) -> list[tuple[Any, int]]:
        """As `costliest_first` returns it: matrix i is called m<i>."""
        layer = SimpleNamespace(matrices=self.matrices)
        names = [f"m{i}" for i in range(len(self.matrices))]
        return [(SimpleNamespace(layer=layer, names=names), i) for i in range(len(names))]

    def plan(self, segment: int) -> ReadPlan:
        return ReadPlan(self.order, segment, {FILE})


def tensor_of(matrix: MatrixRef) -> Tensor:
    assert isinstance(matrix.values, Window)
    return matrix.values.source.parts[0]


def read(source: Any, matrix: MatrixRef, *, rows: int = 0, strip: int = 0) -> bytes:
    """The matrix as it is read: in blocks of rows, or in strips of columns put together again."""
    tensor, height, width = tensor_of(matrix), matrix.rows, 2 * matrix.columns
    data = bytearray(height * width)
    if not strip:
        for first in range(0, height, rows or height):
            last = min(first + (rows or height), height)
            piece = memoryview(data)[first * width : last * width]
            source.read_into(tensor, [(piece, tensor.start + first * width)])
        return bytes(data)
    for first in range(0, width, 2 * strip):
        last = min(first + 2 * strip, width)
        pieces = [bytearray(last - first) for _ in range(height)]
        source.read_into(
            tensor,
            (
                (memoryview(piece), tensor.start + row * width + first)
                for row, piece in enumerate(pieces)
            ),
        )
        for row, line in enumerate(pieces):
            data[row * width + first : row * width + last] = line
    return bytes(data)


class Room(Scratch):
    """A disk with room for so many segments, which refuses every so-many-th write (0 for none)."""

    def __init__(self, length: int = 8000, most: int = 1000, fails: int = 0) -> None:
        self.told = self.taken = self.writes = 0
        self._turn = threading.Lock()
        super().__init__(Path(tempfile.gettempdir()), length, self._tell)
        self._most, self._fails = most, fails

    def _tell(self) -> None:
        self.told += 1

    def take(self) -> int:
        """Return a place, as long as there are any."""
        with self._turn:
            place = super().take() if self.taken < self._most else -1
            self.taken += place >= 0
            return place

    def write(self, place: int, data: memoryview) -> bool:
        """Write, or fail as a disk does."""
        with self._turn:
            self.writes += 1
            if self._fails and self.writes % self._fails == 0:
                self.taken -= 1
                return False
        return super().write(place, data)

    def give_back(self, place: int) -> None:
        """Take it back."""
        with self._turn:
            self.taken -= 1
            super().give_back(place)


def ahead_of(
    line: Line,
    plan: ReadPlan,
    slots: int,
    segment: int,
    connections: int,
    part: int = read_ahead.PART,
    *,
    room: Room | None = None,
) -> ReadAhead:
    ahead = ReadAhead(
        line,
        plan,
        room or Room(),
        slots=slots,
        segment=segment,
        connections=connections,
        part=part,
    )
    ahead.start()
    return ahead


def random_run(seed: int) -> None:
    """Workers that read matrices in every way there is, of a random model through a random pool."""
    rng = random.Random(seed)
    shapes = [(rng.randint(1, 40), rng.randint(1, 40)) for _ in range(rng.randint(1, 25))]
    if rng.random() < 0.3:  # a vocabulary, larger than the pool
        shapes.insert(0, (rng.randint(200, 800), 8))
    model = Model.of(*shapes)
    line = Line(model.size, seed, slowest=rng.choice((0.0, 0.0005, 0.002)))
    segment = rng.choice((16, 100, 1000, 5000))
    plan = model.plan(segment)
    part = rng.choice((1, 7, 64, 5000))
    room = Room(segment, rng.choice((0, 3, 1000)), rng.choice((0, 0, 2)))
    slots, connections = rng.choice((1, 2, 3, 16)), rng.randint(1, 8)
    ahead = ahead_of(line, plan, slots, segment, connections, part, room=room)
    todo = list(range(len(shapes)))
    if rng.random() < 0.2:
        rng.shuffle(todo)  # an order other than was planned
    lock, wrong = threading.Lock(), list[int]()

    def work(chance: random.Random) -> None:
        while True:
            with lock:
                if not todo:
                    return
                number = todo.pop(0)
            matrix = model.matrices[number]
            put_back = chance.random() < 0.1
            for _ in range(1 + (chance.random() < 0.4)):  # a QR decomposition reads again
                strip = chance.choice((0, 0, 3)) if matrix.columns > matrix.rows else 0
                found = read(ahead, matrix, rows=chance.choice((0, 1, 7)), strip=strip)
                tensor = tensor_of(matrix)
                if found != line.data[tensor.start : tensor.end]:
                    wrong.append(number)
            if put_back:
                with lock:
                    todo.insert(0, number)
            else:
                ahead.release(f"m{number}")

    threads = [
        threading.Thread(target=work, args=(random.Random(f"{seed} {i}"),), daemon=True)
        for i in range(rng.randint(1, 8))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "stands still"
    assert not wrong
    ahead.finish()
    for thread in ahead._threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert len(ahead._free) == len(ahead._pool) and room.taken == 0
    assert all(slot is None or len(slot) == segment for slot in ahead._pool)
    room.close()


@pytest.mark.parametrize("seed", range(10, 30))
@pytest.mark.parametrize("seconds", [read_ahead.PART_SECONDS, 0.0])  # 0: the least parts
def test_no_order_of_reads_comes_to_a_standstill(
    seed: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "PART_SECONDS", seconds)
    random_run(seed)


class SlowLine(Line):
    """A line whose connections share so many bytes a second."""

    def __init__(self, size: int, speed: float) -> None:
        super().__init__(size)
        self.came: list[int] = []
        self._speed, self._free_at = speed, 0.0
        self._turn = threading.Lock()

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        for at in range(0, len(buffer), 50):
            with self._turn:
                self._free_at = max(self._free_at, time.monotonic()) + 50 / self._speed
                wait = self._free_at - time.monotonic()
            time.sleep(max(0.0, wait))
            self.came.append(start + at)
        super().fetch(file, start, buffer)


def test_on_a_slow_line_the_first_matrix_is_there_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight connections share its parts, and each begins little of others."""
    monkeypatch.setattr(read_ahead, "PART_SECONDS", 0.02)
    model = Model.of(*[(40, 40)] * 12)  # 3,200 bytes each
    line = SlowLine(model.size, 50_000.0)
    ahead = ahead_of(line, model.plan(4000), 32, 4000, 8, 100)
    begin, end = _place(model.matrices[0])
    assert read(ahead, model.matrices[0]) == line.data[begin:end]
    # Up to its last piece, not up to now: a busy machine is late to notice.
    whole = max(i for i, start in enumerate(line.came) if begin <= start < end)
    assert whole * 50 < 4 * 3200  # one segment each were 8 of them
    ahead.finish()


def test_what_is_left_is_not_brought_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PART_SECONDS", 0.0)
    model = Model.of((100, 40), (10, 40))
    line = SlowLine(model.size, 50_000.0)
    ahead = ahead_of(line, model.plan(8000), 4, 8000, 2, 200)
    ahead.release("m0")
    assert read(ahead, model.matrices[1]) == line.data[slice(*_place(model.matrices[1]))]
    assert len(line.came) * 50 < 4000
    ahead.release("m1")
    ahead.finish()
    for thread in ahead._threads:
        thread.join(LIMIT)
    assert len(ahead._free) == 4


@pytest.mark.parametrize("slots", [1, 2, 4, 64])
@pytest.mark.parametrize("segment", [64, 1000, 2000])
def test_what_is_read_once_is_fetched_once(slots: int, segment: int) -> None:
    model = Model.of((400, 4), *[(20, 20)] * 8, (10, 40))
    line = Line(model.size, slowest=0.001)
    ahead = ahead_of(line, model.plan(segment), slots, segment, 4)
    for i, matrix in enumerate(model.matrices):
        assert read(ahead, matrix, rows=7) == line.data[slice(*_place(matrix))]
        ahead.release(f"m{i}")
    ahead.finish()
    assert set(line.fetched.values()) == {1}
    assert len(line.fetched) == model.size - 64


def _place(matrix: MatrixRef) -> tuple[int, int]:
    tensor = tensor_of(matrix)
    return tensor.start, tensor.end


def test_a_matrix_is_kept_until_it_is_scored() -> None:
    """A second pass fetches nothing, where a quarter of the pool holds the matrix."""
    model = Model.of(*[(30, 30)] * 10)
    line = Line(model.size)
    ahead = ahead_of(line, model.plan(900), 16, 900, 4)
    for i, matrix in enumerate(model.matrices):
        assert read(ahead, matrix) == read(ahead, matrix, rows=3)
        ahead.release(f"m{i}")
    assert set(line.fetched.values()) == {1}
    ahead.finish()


def test_a_wide_matrix_is_fetched_once() -> None:
    """Strips of columns, of a matrix larger than the pool: its rows are fetched in whole
    segments, and what the pool has no room for lies on the disk until the matrix is scored."""
    model = Model.of((50, 400), (50, 400))
    line, room = Line(model.size), Room(4000)
    ahead = ahead_of(line, model.plan(4000), 2, 4000, 2, room=room)
    for i, matrix in enumerate(model.matrices):
        assert read(ahead, matrix, strip=60) == line.data[slice(*_place(matrix))]
        assert 8 <= room.taken <= 10
        held = [segment.data for segment in ahead._plan.segments if segment.data is not None]
        assert len(held) <= 2
        ahead.release(f"m{i}")
        assert room.taken == 0
    ahead.finish()
    assert line.ranges <= 2 * 10 + 2
    assert max(line.fetched.values()) == 1


def test_without_room_on_the_disk_each_strip_fetches_its_matrix() -> None:
    model = Model.of((50, 400))
    line = Line(model.size)
    ahead = ahead_of(line, model.plan(4000), 2, 4000, 2, room=Room(most=0))
    assert read(ahead, model.matrices[0], strip=100) == line.data[64:]  # 4 strips, 10 segments
    held = [segment for segment in ahead._plan.segments if segment.data is not None]
    ahead.release("m0")
    ahead.finish()
    assert len(held) <= 2
    assert line.ranges <= 4 * 10 + 2
    assert max(line.fetched.values()) == 4


def test_a_disk_that_is_full_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    room = Scratch(tmp_path / "cache", 4000, lambda: told.append("full"))
    monkeypatch.setattr(disk, "free_space", lambda folder: scratch.LEFT_FREE + 4000)
    first = room.take()
    assert first == 0 and room.write(first, memoryview(b"a" * 3000))
    assert not list((tmp_path / "cache").iterdir())  # nothing is left by who is killed
    monkeypatch.setattr(disk, "free_space", lambda folder: scratch.LEFT_FREE + 3999)
    assert room.take() == -1 and room.take() == -1 and told == ["full"]
    found = bytearray(5)
    assert room.read_into(first, 2000, memoryview(found)) and found == b"aaaaa"
    assert not room.read_into(first, 2998, memoryview(found))
    room.give_back(first)
    assert room.take() == first
    room.close()
    assert room.take() == -1 and not room.write(first, memoryview(b"a"))


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    room = Scratch(tmp_path, 4000, lambda: told.append("full"))
    place = room.take()

    def full(handle: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk, "write_all", full)
    assert not room.write(place, memoryview(b"a")) and told == ["full"]
    assert room.take() == -1
    room.close()
    closed, real = list[int](), os.close

    def close(handle: int) -> None:
        closed.append(handle)
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda path: full(0, b""))
        patch.setattr(os, "close", close)
        assert Scratch(tmp_path, 4000, lambda: told.append("a name that stays")).take() == -1
    assert len(closed) == 1
    (tmp_path / "file").write_text("")
    assert Scratch(tmp_path / "file", 4000, lambda: told.append("no folder")).take() == -1
    assert told == ["full", "a name that stays", "no folder"]


def test_no_more_is_held_than_slots_and_wide_matrices() -> None:
    model = Model.of(*[(100, 10)] * 30)
    line = Line(model.size)
    plan = model.plan(500)
    ahead = ahead_of(line, plan, 4, 500, 8)
    time.sleep(0.05)
    here = [segment for segment in plan.segments if segment.state == "here"]
    assert len(here) <= 4 and line.ranges == 4  # fetched ahead: four slots, not more
    for i, matrix in enumerate(model.matrices):
        read(ahead, matrix)
        ahead.release(f"m{i}")
    assert sum(slot is not None for slot in ahead._pool) <= 4
    ahead.finish()


def test_a_network_that_is_gone_reaches_whoever_reads() -> None:
    model = Model.of(*[(30, 30)] * 3)
    line = Line(model.size)
    line.failing = True
    ahead = ahead_of(line, model.plan(500), 4, 500, 4)
    for matrix in model.matrices:
        with pytest.raises(HubError, match="gone"):
            read(ahead, matrix)
    ahead.finish()


def test_what_nobody_wants_any_more_is_not_fetched() -> None:
    model = Model.of(*[(30, 30)] * 10)
    line = Line(model.size, slowest=0.002)
    plan = model.plan(1800)
    for i in range(1, 10):
        ReadAhead(line, plan, Room()).release(f"m{i}")
    ahead = ahead_of(line, plan, 4, 1800, 4)
    read(ahead, model.matrices[0])
    ahead.finish()
    time.sleep(0.02)
    assert line.ranges == 1


def test_scales_come_with_their_weights() -> None:
    """Parts near each other are one range; a gap is fetched along, a far part on its own."""

    def part(name: str, start: int, rows: int, width: int) -> Tensor:
        return Tensor(
            name=name, shape=(rows, width), dtype="U8", file=FILE, start=start,
            end=start + rows * width,
        )  # fmt: skip

    far = 10_000_000
    weight, scale, other = part("w", 100, 8, 50), part("s", 700, 8, 4), part("o", far, 8, 4)
    source = StoredSource(
        name="w", shape=(8, 50), dtype="BF16", parts=(weight, scale, other), decode=lambda x: x[0]
    )
    matrix = MatrixRef("", 8, 50, Window(source, 0, 50))
    whole = Model([matrix], far + 32).plan(2**20)
    assert [(s.start, s.end) for s in whole.segments] == [(100, 732), (far, far + 32)]
    expert = MatrixRef("", 1, 50, Window(source, 3, 50))
    one = Model([expert], far + 32).plan(2**20)
    assert [(s.start, s.end) for s in one.segments] == [(250, 716), (far + 12, far + 16)]


def test_one_connection_fetches_while_the_pool_is_full() -> None:
    model = Model.of(*[(30, 30)] * 40)
    line = Line(model.size, slowest=0.002)
    ahead = ahead_of(line, model.plan(1800), 4, 1800, 8)
    time.sleep(0.05)
    line.most = 0
    for i, matrix in enumerate(model.matrices[:20]):
        time.sleep(0.006)  # the CPU is the limit
        read(ahead, matrix)
        ahead.release(f"m{i}")
    assert line.most <= 2 and ahead._allowed == 1
    for i, matrix in enumerate(model.matrices[20:], 20):
        read(ahead, matrix)
        ahead.release(f"m{i}")
    assert line.most > 2  # the network is
    ahead.finish()


def idle(line: Line, model: Model, segment: int, part: int, room: Room | None = None) -> ReadAhead:
    """One whose connections have not begun: whoever reads fetches alone."""
    return ReadAhead(
        line, model.plan(segment), room or Room(segment), slots=2, segment=segment, part=part
    )


def test_a_rest_shorter_than_a_part_comes_along() -> None:
    model = Model.of((25, 13))  # 650 bytes
    line = Line(model.size)
    assert read(idle(line, model, 650, 300), model.matrices[0]) == line.data[64:]
    assert line.ranges == 1  # 600 and 50 were two
    line.ranges = 0
    read(idle(line, model, 650, 200), model.matrices[0])
    assert line.ranges == 2  # 400 and 250


def test_what_somebody_waits_for_comes_first_and_by_all_connections() -> None:
    model = Model.of((20, 20), (20, 20))
    line = Line(model.size)
    ahead = idle(line, model, 800, 100)
    with ahead._changed:
        ahead._place(ahead._plan.segments[0])  # begun, as far as the pool goes
    ahead._allowed = 1
    first: list[Any] = []
    fetch = line.fetch

    def watched(file: str, start: int, buffer: memoryview) -> None:
        first.extend(ahead._open[:1])
        fetch(file, start, buffer)

    line.fetch = watched  # type: ignore[method-assign]
    read(ahead, model.matrices[1])
    assert first[0] is ahead._plan.segments[1]
    assert ahead._allowed == ahead._most
    ahead._allowed = 1
    read(ahead, model.matrices[0])  # it was coming already
    assert ahead._allowed == ahead._most


class Meddled(Room):
    """A disk during whose work a matrix is released, and its place taken by somebody else."""

    released: ReadAhead | None = None
    at = ""

    def _meddle(self, at: str) -> None:
        if self.released is not None and self.at == at:
            ahead, self.released = self.released, None
            ahead.release("m0")

    def write(self, place: int, data: memoryview) -> bool:
        """Write, and have it released meanwhile."""
        self._meddle("write")
        self.during = self.taken
        return super().write(place, data)

    def read_into(self, place: int, start: int, target: memoryview) -> bool:
        """Have it released and overwritten, and read."""
        self._meddle("read")
        if self.at == "read" and not self.taken:
            super().write(self.take(), memoryview(b"other" * 200))
        return super().read_into(place, start, target)


@pytest.mark.parametrize("at", ["write", "read"])
def test_a_place_on_the_disk_is_nobody_elses_while_it_is_used(at: str) -> None:
    model = Model.of((10, 50))
    line, room = Line(model.size), Meddled(1000)
    ahead = idle(line, model, 1000, 100, room)
    ahead._free.clear()  # the pool is full
    ahead.release("nothing")
    room.released, room.at = ahead, at
    assert read(ahead, model.matrices[0], strip=20) == line.data[64:]
    assert room.released is None
    if at == "write":
        assert (room.during, room.taken) == (1, 0)


def test_what_is_converted_at_once_is_fetched_for_the_first_matrix_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others are made of what is kept of the conversion: its bytes do not wait for them."""
    model = Model.of((10, 10), (10, 10), (10, 10))
    whole = Extent(FILE, 64, 264)
    last = model.matrices[2]
    monkeypatch.setattr(read_plan, "shared_conversion", lambda matrix: 0 if matrix is last else 7)
    monkeypatch.setattr(read_plan, "extents_of", lambda m: extents_of(m) if m is last else [whole])
    plan = model.plan(1000)
    assert [(s.start, s.end, s.wanted) for s in plan.segments] == [
        (64, 264, {"m0"}),
        (464, 664, {"m2"}),
    ]
    assert plan.nbytes == 400


def test_what_failed_ahead_is_fetched_by_whoever_reads_it() -> None:
    model = Model.of(*[(30, 30)] * 3)
    line = Line(model.size)
    line.failing = True
    ahead = ahead_of(line, model.plan(500), 4, 500, 4)
    for thread in ahead._threads:
        thread.join(LIMIT)  # nothing more is fetched ahead
        assert not thread.is_alive()
    line.failing = False
    for matrix in model.matrices:
        assert read(ahead, matrix) == line.data[slice(*_place(matrix))]
    assert set(line.fetched.values()) == {1}
