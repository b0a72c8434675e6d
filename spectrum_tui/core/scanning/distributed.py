"""One scan in several processes, on one machine or many, as torchrun starts them.

The processes share nothing but the plan: each scores its own layers and keeps its own journal.
Twice a second they all exchange what they have finished (a gloo all-gather of some kilobytes),
so that each knows everything and the first can report and write. Because every process takes
part in every exchange, one that ends is noticed by all of them at the next one, not at a timeout
of hours; a wait for a long download or matrix is many short exchanges, never one long one.
"""

from __future__ import annotations

import heapq
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from spectrum_tui.core import errors
from spectrum_tui.core.errors import InputError, ScanError, SpectrumError

T = TypeVar("T")

PERIOD = 0.5
"""Seconds between two exchanges: events reach the first process this late at most."""

SILENCE = timedelta(minutes=2)
"""How long a process may be silent. One that ends is noticed at once, by its closed connection;
this is for a machine or a network that is gone, and for one that swaps."""


class PeerLostError(ScanError):
    """Another process of the scan has ended or cannot be reached."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one process contributes to an exchange; an error as `errors.to_dict` has it."""

    items: list[Any]
    ended: bool
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a scan, seen from one of them: `rank` of `size`, `local_rank` of
    `local_size` on its machine. A scan in one process is a group of one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    @property
    def leads_machine(self) -> bool:
        """Whether this is the process that downloads for its machine."""
        return self.local_rank == 0

    def merged(self, items: Iterator[T]) -> Iterator[T]:
        """Yield what the iterators of all processes yield, in every process, until all have ended.

        The order of each iterator is kept. An error of any process is raised in all of them:
        SpectrumError as it is, PeerLostError for a process that is gone.
        """
        if self.size == 1:
            yield from items
            return
        local = _Background(items)
        while True:
            batches = self._exchange(local.take())
            for batch in batches:
                yield from batch.items
            local.raise_error()
            for rank, batch in enumerate(batches):
                if batch.error is not None:
                    raise self._from(rank, batch.error)
            if all(batch.ended for batch in batches):
                return

    def together(self, work: Callable[[], T]) -> T:
        """Yield the result of `work()` in this process, once it is done in all of them."""
        results: list[T] = []

        def run() -> Iterator[None]:
            results.append(work())
            yield from ()

        for _ in self.merged(run()):
            pass
        return results[0]

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Yield the results of `work()` in all processes, by rank, in every process."""

        def run() -> Iterator[tuple[int, T]]:
            yield self.rank, work()

        found = dict(self.merged(run()))
        return [found[rank] for rank in range(self.size)]

    def share(self, costs: Sequence[float]) -> list[int]:
        """Return the positions in `costs` that are this process's work; the same rule in all."""
        return split(costs, self.size)[self.rank]

    def _exchange(self, mine: _Batch) -> list[_Batch]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, mine)
        except RuntimeError as exc:  # gloo's own: a closed connection or its timeout
            raise PeerLostError(
                (
                    f"Process {self.rank} of {self.size} lost contact with another one "
                    f"({_first_line(exc)})."
                ),
                "Finished scores are kept: the same command goes on from there.",
            ) from None
        return found

    def _from(self, rank: int, error: dict[str, str]) -> SpectrumError:
        """Return the error of another process, with where it happened."""
        where = f"Process {rank} of {self.size}: " if rank else ""
        return errors.from_dict({**error, "message": where + error["message"]})


ALONE = ProcessGroup()
"""The group of a scan in one process."""


def join(environ: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Return the group that torchrun's environment names, once all its processes are there.

    Raises InputError for an environment that describes no group, ScanError if the processes cannot
    connect.
    """
    group = process_group_of(environ)
    if group.size > 1:
        _meet(group)
    return group


def process_group_of(environ: Mapping[str, str]) -> ProcessGroup:
    """Return the place of this process by RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE.

    Without WORLD_SIZE there is one process; without LOCAL_RANK each is alone on its machine.
    """
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    try:
        rank, size, local_rank, local_size = (int(environ.get(n) or d) for n, d in names.items())
    except ValueError:
        rank, size, local_rank, local_size = -1, 0, 0, 0
    if size == 1:
        return ALONE
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        given = " ".join(f"{name}={environ[name]}" for name in names if name in environ)
        raise InputError(f"{given} is not a process group.", "Start the scan with torchrun.")
    return ProcessGroup(rank, size, local_rank, local_size)


def split(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Positions of `costs` in `parts` shares: the costliest first, each to the smallest share.

    Longest processing time first (Graham 1969): the largest share is at most 4/3 - 1/(3·parts)
    of the best possible one. Ties go by position, so that every process finds the same.

    >>> split([1.0, 5.0, 4.0, 2.0], 2)
    [[1, 0], [2, 3]]
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0.0, part) for part in range(parts)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        load, part = heapq.heappop(loads)
        shares[part].append(index)
        heapq.heappush(loads, (load + costs[index], part))
    return shares


def _meet(group: ProcessGroup) -> None:
    import torch.distributed as dist

    try:
        dist.init_process_group("gloo", rank=group.rank, world_size=group.size, timeout=SILENCE)
    except (RuntimeError, ValueError) as exc:
        raise ScanError(
            f"Process {group.rank} of {group.size} could not join the others ({_first_line(exc)}).",
            "Start the scan with torchrun, or unset WORLD_SIZE to scan in one process.",
        ) from None


def _first_line(exc: BaseException) -> str:
    """Return what torch says, without the place in its own source and its advice."""
    line = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
    return re.sub(r"^\[\S+\]\s*|\. .*$", "", line)[:200]


class _Background:
    """An iterator that is worked off in a thread, so that this one keeps up the exchange."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self) -> _Batch:
        """Return what came within the period; all that is left where it has ended."""
        self._thread.join(PERIOD)
        ended = not self._thread.is_alive()
        items = [self._done.get() for _ in range(self._done.qsize())]
        return _Batch(items, ended, self._told() if ended else None)

    def _told(self) -> dict[str, str] | None:
        """Return the error as the other processes hear of it."""
        error = self._error
        if error is not None and not isinstance(error, SpectrumError):
            error = ScanError(f"Unexpected: {type(error).__name__}: {error}.")
        return errors.to_dict(error) if error is not None else None

    def raise_error(self) -> None:
        """Raise here what happened here: a defect shows its traceback where it is."""
        if not self._thread.is_alive() and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for item in self._items:
                self._done.put(item)
        except BaseException as exc:
            self._error = exc
