"""One scan in several processes: who does what, and how they meet. The processes are threads
here, which exchange through memory; `test_torchrun` has real ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import InputError, OutputError, ScanError, SpectrumError
from spectrum_tui.core.events import (
    LayerRescored,
    ScanEnded,
    ScanEvent,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.journal import lock
from spectrum_tui.core.journal.journal import Entry, Journal, journals, rank_journal, read_journal
from spectrum_tui.core.journal.lock import ScanLock
from spectrum_tui.core.journal.spectra import KeptSpectrum, SpectraReader, spectra_path
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.scanning import distributed
from spectrum_tui.core.scanning.distributed import (
    ALONE,
    ProcessGroup,
    join,
    process_group_of,
    split,
)
from spectrum_tui.core.scanning.scan import ScanPlan, make_plan, scan
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
from tests.checkpoints import experts, llama, save
from tests.scans import is_matrix, journal_of, layers_of, run, scores_of

T = TypeVar("T")


class Table:
    """Where the processes of a test put what they exchange."""

    def __init__(self, size: int) -> None:
        self.batches: list[Any] = [None] * size
        self.barrier = threading.Barrier(size)


@dataclass(frozen=True, slots=True)
class ThreadGroup(ProcessGroup):
    """A process that is a thread of this one."""

    table: Table | None = None

    def _exchange(self, mine: Any) -> list[Any]:
        assert self.table is not None
        self.table.batches[self.rank] = mine
        self.table.barrier.wait(20)
        found = list(self.table.batches)
        self.table.barrier.wait(20)
        return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "PERIOD", 0.01)


def in_processes(count: int, work: Callable[[ProcessGroup], T]) -> list[T | SpectrumError]:
    """What `work` gives or raises in each of `count` processes of one machine."""
    table = Table(count)

    def caught(rank: int) -> T | SpectrumError:
        try:
            return work(ThreadGroup(rank, count, rank, count, table=table))
        except SpectrumError as exc:
            return exc

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(caught, range(count)))


class TestGroup:
    def test_without_torchrun_there_is_one_process(self) -> None:
        assert process_group_of({}) == ALONE
        assert process_group_of({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == ALONE
        assert join({}) is ALONE
        assert ALONE.leads
        assert ALONE.leads_machine
        assert list(ALONE.merged(iter("abc"))) == ["a", "b", "c"]
        assert ALONE.gather(lambda: 7) == [7]
        assert ALONE.share([1.0, 2.0]) == [1, 0]

    def test_the_environment_of_torchrun(self) -> None:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        group = process_group_of(dict(zip(names, ("5", "8", "1", "4"), strict=True)))
        assert group == ProcessGroup(5, 8, 1, 4)
        assert not group.leads
        assert not group.leads_machine
        assert process_group_of({"RANK": "1", "WORLD_SIZE": "2"}).leads_machine

    @pytest.mark.parametrize(
        ("rank", "size", "local_rank", "local_size"),
        [
            ("2", "2", "0", "1"),
            ("-1", "2", "0", "1"),
            ("x", "2", "0", "1"),
            ("0", "0", "0", "1"),
            ("0", "2", "1", "1"),
            ("0", "2", "0", "3"),
            ("0", "2", "0", "0"),
            ("0", "-2", "0", "1"),
        ],
    )
    def test_an_environment_that_is_none(
        self, rank: str, size: str, local_rank: str, local_size: str
    ) -> None:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        with pytest.raises(InputError, match=f"WORLD_SIZE={size}") as caught:
            process_group_of(dict(zip(names, (rank, size, local_rank, local_size), strict=True)))
        assert "torchrun" in caught.value.hint

    def test_no_address_to_meet_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ScanError, match="MASTER_ADDR") as caught:
            join({"RANK": "1", "WORLD_SIZE": "2"})
        assert "torchrun" in caught.value.hint


class TestSplit:
    COSTS = (9.0, 8.0, 7.0, 7.0, 6.0, 5.0, 5.0, 3.0, 1.0, 1.0, 0.0)

    @pytest.mark.parametrize("parts", [1, 2, 3, 4, 20])
    def test_everything_once_and_evenly(self, parts: int) -> None:
        shares = split(self.COSTS, parts)
        assert sorted(i for share in shares for i in share) == list(range(len(self.COSTS)))
        loads = [sum(self.COSTS[i] for i in share) for share in shares]
        best = max(sum(self.COSTS) / parts, *self.COSTS)
        assert max(loads) <= best * (4 / 3 - 1 / (3 * parts))

    def test_equal_costs_go_round(self) -> None:
        assert split([2.0] * 5, 2) == [[0, 2, 4], [1, 3]]

    def test_nothing(self) -> None:
        assert split([], 3) == [[], [], []]


class TestMerged:
    def test_everyone_sees_everything_in_order(self) -> None:
        def work(group: ProcessGroup) -> list[tuple[int, int]]:
            return list(group.merged((group.rank, i) for i in range(10 * group.rank)))

        for seen in in_processes(3, work):
            assert isinstance(seen, list)
            assert [i for rank, i in seen if rank == 2] == list(range(20))
            assert len(seen) == 30

    def test_gather_and_together(self) -> None:
        assert in_processes(3, lambda g: g.gather(lambda: g.rank * 10)) == [[0, 10, 20]] * 3
        assert in_processes(3, lambda g: g.together(lambda: g.rank)) == [0, 1, 2]

    def test_together_waits_for_the_slowest(self) -> None:
        ready: list[int] = []
        go = threading.Event()

        def work(group: ProcessGroup) -> int:
            def slow() -> None:
                if group.rank == 1:
                    assert go.wait(10)
                    ready.append(1)

            if group.rank == 0:
                threading.Timer(0.1, go.set).start()
            group.together(slow)
            return len(ready)

        assert in_processes(2, work) == [1, 1]

    def test_an_error_of_one_ends_all(self) -> None:
        def endless(group: ProcessGroup) -> Iterator[int]:
            if group.rank == 1:
                yield 1
                raise OutputError("The disk is full.", "Free some space", field="output_dir")
            while not stop.is_set():
                yield 0

        stop = threading.Event()
        raised = in_processes(3, lambda group: list(group.merged(endless(group))))
        stop.set()
        assert [type(exc) for exc in raised] == [OutputError] * 3
        told, own = raised[0], raised[1]
        assert isinstance(told, SpectrumError)
        assert isinstance(own, SpectrumError)
        assert own.message == "The disk is full."
        assert told.message == "Process 1 of 3: The disk is full."
        assert (told.hint, told.field) == (own.hint, own.field)

    def test_a_defect_shows_where_it_is(self) -> None:
        seen: list[BaseException] = []

        def work(group: ProcessGroup) -> None:
            try:
                group.together(lambda: 1 // group.rank)
            except ZeroDivisionError as exc:
                seen.append(exc)

        other = in_processes(2, work)[1]
        assert isinstance(other, ScanError)
        assert "ZeroDivisionError" in other.message
        assert len(seen) == 1


def plan_of(
    folder: Path, group: ProcessGroup, *, fresh: bool = False, precision: str = "auto"
) -> ScanPlan:
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in layers_of(checkpoint) if is_matrix(layer)]
    return make_plan(
        checkpoint,
        layers,
        device="cpu",
        batch_size=1,
        since=time.time() if fresh else 0.0,
        group=group,
        precision=precision,
    )


def scan_in(count: int, folder: Path, *, fresh: bool = False) -> list[list[ScanEvent]]:
    """The events that each of `count` processes of a scan yields."""
    found = in_processes(count, lambda group: list(scan(plan_of(folder, group, fresh=fresh))))
    for events in found:
        assert isinstance(events, list), events
    return found  # type: ignore[return-value]


class TestScan:
    @pytest.mark.parametrize("count", [2, 3])
    def test_every_process_knows_every_score(
        self, count: int, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, {**llama(3), **experts(1)})
        one = scores_of(run(folder, only=is_matrix))
        journal_of(folder).unlink()
        computed.clear()
        found = scan_in(count, folder)
        assert len(computed) == len(set(computed)) == len(one)
        for events in found:
            assert scores_of(events) == one
            start, end = events[0], events[-1]
            assert isinstance(start, ScanStarted)
            assert isinstance(end, ScanEnded)
            assert start.layers == end.done == len(one)
            assert start.device == f"cpu in {count} processes"
            assert start.batch_size == count

    def test_each_process_writes_its_own_journal(self, tmp_path: Path) -> None:
        folder = save(tmp_path, llama(3))
        scan_in(3, folder)
        journal = journal_of(folder)
        assert journals(journal) == [journal, rank_journal(journal, 1), rank_journal(journal, 2)]
        counts = [len(file.read_text().splitlines()) for file in journals(journal)]
        assert min(counts) > 0
        assert sum(counts) == 3 * 7 + 2 == len(read_journal(journal))

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_another_number_of_processes_goes_on(
        self, count: int, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(3))
        scan_in(3, folder)
        journal = journal_of(folder)
        lost = rank_journal(journal, 1)
        missing = len(lost.read_text().splitlines())
        lost.unlink()
        computed.clear()
        found = scan_in(count, folder)
        assert len(computed) == missing > 0
        assert all(len(scores_of(events)) == 3 * 7 + 2 for events in found)

    def test_an_earlier_scan_counts_as_finished_layers(self, tmp_path: Path) -> None:
        folder = save(tmp_path, llama(2))
        scan_in(2, folder)
        assert sum(inspect_model(str(folder)).summary.scored.values()) == 2 * 7 + 2

    def test_a_group_follows_another_scan_of_the_model(
        self, tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its first process waits, all of them know what the other scan finished meanwhile."""
        monkeypatch.setattr(lock, "GRACE", 0.01)
        folder = save(tmp_path, llama(2))
        one = scores_of(run(folder, only=is_matrix))
        journal = journal_of(folder)
        entries = list(read_journal(journal).values())
        journal.unlink()
        computed.clear()
        other = ScanLock(journal)
        assert other.take()
        said: list[str] = []

        def followed(group: ProcessGroup) -> list[ScanEvent]:
            events = []
            for event in scan(plan_of(folder, group)):
                events.append(event)
                if isinstance(event, ScanNote) and group.leads:
                    said.append(event.text)
                    if len(said) == 1:
                        with Journal(journal) as written:
                            for entry in entries[:5]:
                                written.append(entry)
                        other.__exit__(None, None, None)
            return events

        for events in in_processes(2, followed):
            assert isinstance(events, list), events
            assert scores_of(events) == one
            assert isinstance(events[-1], ScanEnded)
            assert events[-1].reason == "finished"
        assert len(computed) == len(set(computed)) == 2 * 7 + 2 - 5
        assert [text.split()[0] for text in said] == ["Another", "The"]

    def test_afresh_every_layer_is_computed_and_the_newest_counts(
        self, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(2))
        scan_in(4, folder)
        computed.clear()
        scan_in(2, folder, fresh=True)
        assert len(computed) == 2 * 7 + 2
        journal = journal_of(folder)
        lines = (f.read_bytes().splitlines() for f in journals(journal))
        made = sorted(json.loads(line)["made"] for file in lines for line in file)
        assert sorted(e.made for e in read_journal(journal).values()) == made[2 * 7 + 2 :]

    def test_machines_know_each_others_scores(self, tmp_path: Path, computed: list[str]) -> None:
        """Two machines with a cache each: what one has is not computed by the other."""
        folder = save(tmp_path / "m", llama(3))

        def work(group: ProcessGroup) -> list[ScanEvent]:
            group = replace(group, local_rank=0, local_size=1)
            place = tmp_path / f"machine{group.rank}" / "x.jsonl"
            return list(scan(replace(plan_of(folder, group), journal=place)))

        first = in_processes(2, work)
        kept = [len(read_journal(tmp_path / f"machine{i}" / "x.jsonl")) for i in range(2)]
        assert min(kept) > 0
        assert sum(kept) == 3 * 7 + 2
        computed.clear()
        again = in_processes(2, work)
        assert computed == []
        assert [scores_of(events) for events in again if isinstance(events, list)] == [
            scores_of(events) for events in first if isinstance(events, list)
        ]

    def test_different_models_are_refused(self, tmp_path: Path, computed: list[str]) -> None:
        folders = [save(tmp_path / str(i), llama(i + 1)) for i in range(2)]
        refused = in_processes(2, lambda group: list(scan(plan_of(folders[group.rank], group))))
        for error in refused:
            assert isinstance(error, ScanError)
            assert "different layers" in error.message
        assert computed == []

    def test_different_precisions_are_refused(self, tmp_path: Path, computed: list[str]) -> None:
        folder = save(tmp_path, llama(1))
        choices = ("fast", "exact")
        for error in in_processes(
            2, lambda g: list(scan(plan_of(folder, g, precision=choices[g.rank])))
        ):
            assert isinstance(error, ScanError)
            assert "--precision" in error.hint
        assert computed == []

    def test_the_order_is_settled_among_the_layers_of_all(self, tmp_path: Path) -> None:
        """Two equal layers in two processes: neither knows by itself that they are too close."""
        tensors = llama(2, hidden=64)
        close = [f"model.layers.{i}.mlp.up_proj" for i in range(2)]
        tensors[f"{close[1]}.weight"] = tensors[f"{close[0]}.weight"].clone()
        folder = save(tmp_path, tensors)
        exact = scores_of(run(folder, only=is_matrix, precision="exact"))
        journal_of(folder).unlink()
        for events in in_processes(
            2, lambda group: list(scan(plan_of(folder, group, precision="fast")))
        ):
            assert isinstance(events, list), events
            again = {e.done.layer: e.done.snr for e in events if isinstance(e, LayerRescored)}
            assert again == {layer: exact[layer] for layer in again}
            assert again.keys() >= set(close)
        known = read_journal(journal_of(folder))
        assert known[close[0]].error == known[close[1]].error == 0.0
        assert any(entry.error for entry in known.values())

    def test_cancelled_in_one_process_is_stopped_in_all(
        self, tmp_path: Path, computed: list[str]
    ) -> None:
        folder = save(tmp_path, llama(6))
        ends = in_processes(
            2,
            lambda group: list(scan(plan_of(folder, group), cancelled=lambda: group.rank == 1))[-1],
        )
        assert ends[0] == ends[1]
        assert isinstance(ends[0], ScanEnded)
        assert ends[0].reason == "stopped"
        assert 6 * 7 + 2 > ends[0].done == len(computed) == len(read_journal(journal_of(folder)))


def test_the_most_exact_score_counts_whichever_journal_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for rank, error in enumerate((1e-5, 0.0, 1e-6)):
        with Journal(rank_journal(path, rank)) as journal:
            kept = KeptSpectrum(np.full(2, float(rank)), 2, 3)
            metrics = {**ONE_DIMENSIONAL, "spectrum": float(rank)}
            entry = Entry(layer="layer", metrics=metrics, error=error)
            journal.append(entry, kept)
    best = read_journal(path)["layer"]
    assert best.metrics["spectrum"] == 1.0
    with SpectraReader(spectra_path(path.with_name(best.file))) as reader:
        spectrum = reader.read("layer", best.spectrum)
    assert spectrum is not None
    assert spectrum.values.tolist() == [1.0, 1.0]  # its own, not that of another journal
