"""Two scans of one model at once: the second follows the first, and goes on when that ends."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from spectrum_tui.cli import scan_model
from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.events import (
    LayerDone,
    LayerRescored,
    LayerStarted,
    ScanEnded,
    ScanEvent,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.journal import lock
from spectrum_tui.core.journal.journal import Journal, read_journal
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.results.results import UNHASHED
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.worker.progress import ScanProgress
from tests.checkpoints import llama, save
from tests.scans import (
    is_matrix,
    journal_of,
    layers_of,
    resumed,
    run,
    scores_of,
)

MATRICES = 2 * 7 + 2
LIMIT = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "GRACE", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny", llama(2))


class First:
    """A scan that has the model, and finishes a layer when it is told to."""

    def __init__(self, folder: Path, precision: str = "exact") -> None:
        self.right = scores_of(run(folder, only=is_matrix, precision=precision))
        self.path = journal_of(folder)
        self._entries = list(read_journal(self.path).values())
        self.path.unlink()
        self._lock = ScanLock(self.path)
        assert self._lock.take()
        self._journal = Journal(self.path).__enter__()

    def finish(self, count: int, ranges: str = "") -> set[str]:
        """The layers that are written down now, as read in `ranges`."""
        names = set()
        for _ in range(count):
            entry = self._entries.pop()
            self._journal.append(replace(entry, ranges=ranges))
            names.add(entry.layer)
        return names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._journal.__exit__(None, None, None)
        self._lock.__exit__(None, None, None)


class Second:
    """A scan in a thread of its own; its events come one after the other."""

    def __init__(self, folder: Path, *, fresh: bool = False, precision: str = "exact") -> None:
        checkpoint = read_checkpoint(folder)
        layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
        since = time.time() if fresh else 0.0
        plan = make_plan(checkpoint, layers, device="cpu", since=since, precision=precision)
        self.stop = threading.Event()
        self.seen: list[ScanEvent] = []
        self._events: queue.Queue[ScanEvent | None] = queue.Queue()
        self._scan = scan(plan, cancelled=self.stop.is_set)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for event in self._scan:
            self._events.put(event)
        self._events.put(None)

    def until(self, wanted: Callable[[ScanEvent], bool]) -> ScanEvent:
        """The next event of a kind."""
        while (event := self._events.get(timeout=LIMIT)) is not None:
            self.seen.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"not among {self.seen}")

    def rest(self) -> list[ScanEvent]:
        """All events, once it has ended."""
        while (event := self._events.get(timeout=LIMIT)) is not None:
            self.seen.append(event)
        return self.seen

    def done(self, count: int) -> None:
        """Wait until so many layers more are done."""
        for _ in range(count):
            self.until(lambda event: isinstance(event, LayerDone))


def notes(events: list[ScanEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, ScanNote)]


def started(events: list[ScanEvent]) -> set[str]:
    return {event.layer for event in events if isinstance(event, LayerStarted)}


def is_note(event: ScanEvent) -> bool:
    return isinstance(event, ScanNote)


def test_the_second_says_so_follows_and_scores_the_rest(folder: Path, computed: list[str]) -> None:
    with First(folder) as first:
        computed.clear()
        before = first.finish(3)
        second = Second(folder)
        said = second.until(is_note)
        assert isinstance(said, ScanNote)
        assert f"(process {os.getpid()}, since " in said.text
        assert resumed(second.seen) == before
        meanwhile = first.finish(4)
        second.done(4)
        assert scores_of(second.seen).keys() == before | meanwhile
        assert not computed
    events = second.rest()
    assert scores_of(events) == first.right
    assert resumed(events) == before
    assert len(computed) == len(started(events)) == MATRICES - 7
    assert notes(events)[-1] == f"The other scan has ended: {MATRICES - 7} layers left to score."
    assert isinstance(events[-1], ScanEnded)
    assert (events[-1].reason, events[-1].done) == ("finished", MATRICES)
    assert read_journal(first.path).keys() == first.right.keys()


def test_what_the_first_finished_is_not_computed_again(folder: Path, computed: list[str]) -> None:
    with First(folder) as first:
        computed.clear()
        second = Second(folder)
        second.until(is_note)
        first.finish(MATRICES)
    events = second.rest()
    assert scores_of(events) == first.right
    assert not computed
    assert notes(events)[-1] == "The other scan has ended: 0 layers left to score."


@pytest.mark.parametrize("stopped", [False, True])
def test_what_the_first_read_in_ranges_is_said_at_the_end(folder: Path, stopped: bool) -> None:
    with First(folder) as first:
        second = Second(folder)
        second.until(is_note)
        first.finish(1)
        first.finish(2, ranges="commit 0123456789ab")
        second.done(3)
        if stopped:
            second.stop.set()
            second.until(lambda event: isinstance(event, ScanEnded))
    end = second.rest()[-1]
    assert isinstance(end, ScanEnded) and end.reason == ("stopped" if stopped else "finished")
    assert end.notes == (UNHASHED.format("commit 0123456789ab"),)


def test_a_stop_while_it_follows(folder: Path, computed: list[str]) -> None:
    with First(folder) as first:
        computed.clear()
        second = Second(folder)
        second.until(is_note)
        first.finish(2)
        second.done(2)
        second.stop.set()
        events = second.rest()
    assert not computed
    assert isinstance(events[-1], ScanEnded)
    assert (events[-1].reason, events[-1].done) == ("stopped", 2)
    assert ScanLock(first.path).take()  # given up by both


def test_afresh_waits_and_takes_nothing_from_before_it_was_asked_for(
    folder: Path, computed: list[str]
) -> None:
    with First(folder) as first:
        computed.clear()
        second = Second(folder, fresh=True)
        second.until(is_note)
        first.finish(MATRICES)
    events = second.rest()
    assert len(computed) == MATRICES
    assert scores_of(events) == first.right
    assert len(first.path.read_bytes().splitlines()) == 2 * MATRICES


def test_an_exact_scan_takes_no_fast_scores(folder: Path, computed: list[str]) -> None:
    with First(folder, precision="fast") as first:
        entries = read_journal(first.path)
        assert not entries
        fast = sum(entry.error > 0 for entry in first._entries)
        assert fast
        computed.clear()
        second = Second(folder, precision="exact")
        second.until(is_note)
        first.finish(MATRICES)
    events = second.rest()
    assert len(computed) == fast
    exact = scores_of(run(folder, only=is_matrix, precision="exact", fresh=True))
    assert scores_of(events) == exact


def test_a_fast_scan_takes_the_exact_score_that_follows(folder: Path) -> None:
    with First(folder, precision="fast") as first:
        fast = next(entry for entry in first._entries if entry.error)
        second = Second(folder, precision="fast")
        second.until(is_note)
        first._journal.append(fast)
        second.done(1)
        first._journal.append(replace(fast, error=0.0))
        event = second.until(lambda event: isinstance(event, LayerRescored))
        assert isinstance(event, LayerRescored)
        assert event.done.layer == fast.layer
        second.stop.set()
        second.rest()


def test_two_real_scans_compute_each_matrix_once(folder: Path, computed: list[str]) -> None:
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
    first: Iterator[ScanEvent] = scan(make_plan(checkpoint, layers, device="cpu", batch_size=1))
    assert isinstance(next(first), ScanStarted)
    next(first)  # its first matrix is in work
    second = Second(folder)
    second.until(is_note)
    right = scores_of(list(first))
    assert scores_of(second.rest()) == right
    assert len(computed) == len(set(computed)) == MATRICES


_HOLDS = """
import sys, time
from pathlib import Path
from spectrum_tui.core.journal.lock import ScanLock
lock = ScanLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
time.sleep(600)
"""


def test_an_owner_that_is_killed_gives_it_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = journal_of(folder)
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(journal)], stdout=subprocess.PIPE, text=True
    ) as owner:

        def say(text: str) -> None:
            said.append(text)
            if "Another scan" in text:
                os.kill(owner.pid, signal.SIGKILL)

        monkeypatch.setattr(scan_model, "say", say)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        lock = ScanLock(journal)
        assert not lock.take()
        assert lock.holder().startswith(f"process {owner.pid}, since ")
        assert main(["scan", str(folder)]) == 0
    (follows,) = (line for line in said if "Another scan" in line)
    assert follows.startswith(f"Another scan of this model is running (process {owner.pid}, since ")
    assert f"The other scan has ended: {MATRICES} layers left to score." in said


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[" * 100_000, b'["x", {}, null]', b"[1, 2]", b'[1, "h", 1e999]'],
    ids=["empty", "bytes", "deep", "types", "short", "time"],
)
def test_a_damaged_lock_only_says_less(content: bytes, folder: Path) -> None:
    journal = journal_of(folder)
    with ScanLock(journal) as lock:
        assert lock.take()
        journal.with_suffix(".lock").write_bytes(content)
        assert ScanLock(journal).take_soon() == "another process"


def test_the_name_of_another_machine_is_printable(folder: Path) -> None:
    journal = journal_of(folder)
    with ScanLock(journal) as lock:
        assert lock.take()
        journal.with_suffix(".lock").write_text('[7, "node\\u001b[2J", 0]')
        assert lock.holder().startswith("process 7 on node?[2J, since ")


@pytest.mark.parametrize("place", [Path.mkdir, os.mkfifo])
def test_where_no_lock_can_be_the_scan_goes_on(place: Callable[[Path], None], folder: Path) -> None:
    path = journal_of(folder).with_suffix(".lock")
    path.parent.mkdir(parents=True)
    place(path)
    events = run(folder, only=is_matrix)
    assert len(scores_of(events)) == MATRICES
    assert not notes(events)


def test_no_lock_is_left_by_who_ends_and_none_of_the_killed_stops_anybody(folder: Path) -> None:
    lock = journal_of(folder).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    lock.write_text('[7, "host", 0]')  # what a killed one leaves
    events = run(folder, only=is_matrix)
    assert len(scores_of(events)) == MATRICES and not notes(events)
    assert not list(cache_dir().rglob("*.lock"))


def test_models_do_not_wait_for_each_other(folder: Path, tmp_path: Path) -> None:
    with First(folder):
        other = save(tmp_path / "other", llama(2, hidden=64))
        assert not notes(run(other, only=is_matrix))


def test_what_another_scan_computed_is_no_speed_of_ours() -> None:
    progress = ScanProgress(clock=lambda: 100.0)
    progress.begin()
    progress.feed(ScanStarted(layers=2, cost=2.0, types={"t": 2}, device="cpu", batch_size=1))
    progress.feed(ScanNote("Another scan runs."))
    progress.feed(
        LayerDone(
            layer="a",
            type="t",
            shape=(2, 2),
            metrics={"spectrum": 1.0},
            cost=1.0,
            bytes=8,
            seconds=0.0,
        )
    )
    state = progress.snapshot()
    assert (state.done, state.resumed, state.eta) == (1, 0, None)
    assert state.notes == ("Another scan runs.",)
    assert [event.layer for event in state.recent] == ["a"]
