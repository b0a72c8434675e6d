"""Parts of one piece of work, made by several threads and given in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from spectrum_tui.core.scoring import on_cpu, sharing, svd
from spectrum_tui.core.scoring.sharing import Sharing, helped_by, helping
from spectrum_tui.core.scoring.snr import UnscorableError
from tests.checkpoints import matrix
from tests.unit.scanning.test_fast_precision import InMemory


def tenfold(part: int) -> int:
    return 10 * part


@pytest.mark.parametrize("threads", [0, 1, 5])
@pytest.mark.parametrize("most", [1, 2, 8])
def test_results_come_in_their_order(threads: int, most: int) -> None:
    shared = Sharing(most)
    with helping(shared, threads), helped_by(shared):
        for count in (1, 2, 40):
            assert list(sharing.each(tenfold, count)) == [10 * part for part in range(count)]


def test_without_help_parts_are_made_when_they_are_asked_for() -> None:
    made: list[int] = []
    parts = sharing.each(made.append, 3)
    next(iter(parts))
    assert made == [0]


def test_another_thread_makes_parts() -> None:
    shared, makers, both = Sharing(2), set[int](), threading.Barrier(2)

    def work(part: int) -> int:
        both.wait(10)  # nobody makes one alone
        makers.add(threading.get_ident())
        return part

    with helping(shared, 1), helped_by(shared):
        assert list(sharing.each(work, 8)) == list(range(8))
    assert len(makers) == 2


def test_no_more_parts_are_in_memory_than_may_be() -> None:
    shared, lock, given, ahead = Sharing(3), threading.Lock(), [0], list[int]()

    def work(part: int) -> int:
        with lock:
            ahead.append(part - given[0])
        return part

    with helping(shared, 6), helped_by(shared):
        for _ in sharing.each(work, 60):
            with lock:
                given[0] += 1
    assert max(ahead) <= 3


@pytest.mark.parametrize("error", [ValueError("part 5"), KeyboardInterrupt()], ids=repr)
def test_an_error_of_a_part_is_raised_where_the_work_is(error: BaseException) -> None:
    def work(part: int) -> int:
        if part == 5:
            raise error
        return part

    shared, found = Sharing(4), list[int]()
    with helping(shared, 3), helped_by(shared):
        with pytest.raises(type(error)):
            found.extend(sharing.each(work, 9))
        assert list(sharing.each(tenfold, 3)) == [0, 10, 20]  # nobody has ended
    assert found == [0, 1, 2, 3, 4]


def test_help_does_nothing_where_nothing_is_open() -> None:
    assert not Sharing(4).help()


def gram_bytes(tensor: torch.Tensor, threads: int) -> bytes:
    """The singular values by so many threads, to the last bit."""
    shared = Sharing(threads + 1)
    with helping(shared, threads), helped_by(shared):
        rows, columns = tensor.shape
        found = svd.singular_values(InMemory(tensor), rows, columns, "cpu")
    return found.values.tobytes()


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 2048)
    for shape in ((3000, 40), (40, 3000), (90, 40)):
        tensor = matrix("shared", *shape, dtype=torch.bfloat16)
        assert len({gram_bytes(tensor, threads) for threads in (0, 1, 2, 7)}) == 1


def test_long_matrices_are_split_and_others_are_not(count_parts: Callable[[int, int], int]) -> None:
    assert count_parts(4000, 40) == count_parts(40, 4000) == on_cpu.PARTS
    assert count_parts(100, 40) == count_parts(40, 40) == 1
    assert count_parts(400, 40) == 5


@pytest.fixture
def count_parts() -> Callable[[int, int], int]:
    def count(rows: int, columns: int) -> int:
        values = InMemory(torch.zeros(1, 1).expand(rows, columns))
        return svd.StoredMatrix(values, rows, columns).parts(on_cpu.PARTS)

    return count


def test_a_part_that_is_not_finite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = matrix("bad", 4000, 20)
    tensor[3990, 3] = np.nan
    with pytest.raises(UnscorableError, match="NaN or Inf"):
        gram_bytes(tensor, 2)
