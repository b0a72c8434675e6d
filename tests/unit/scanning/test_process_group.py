"""How the processes of a scan meet: who they are, who does what, and how errors reach all."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from spectrum_tui.core.errors import InputError, OutputError, ScanError, SpectrumError
from spectrum_tui.core.scanning.distributed import (
    ALONE,
    ProcessGroup,
    join,
    process_group_of,
    split,
)
from tests.unit.scanning.thread_groups import in_processes


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
