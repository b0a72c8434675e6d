"""Processes of one scan that are threads here and exchange through memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.scanning import distributed
from spectrum_tui.core.scanning.distributed import ProcessGroup

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


def in_processes(count: int, work: Callable[[ProcessGroup], T]) -> list[T | SpectrumError]:
    """What `work` gives or raises in each of `count` processes of one machine."""
    table = Table(count)

    def caught(rank: int) -> T | SpectrumError:
        try:
            return work(ThreadGroup(rank, count, rank, count, table=table))
        except SpectrumError as exc:
            return exc

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(count) as pool:
        patch.setattr(distributed, "PERIOD", 0.01)
        return list(pool.map(caught, range(count)))
