"""Which matrices go to a process of a cluster together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MOST = 10.0
"""Seconds of work that go together: a process that ends loses no more, and a scan that is stopped
waits no longer. The way there and back takes 10 to 20 ms, and up to 0.2 s to another city."""


@dataclass(frozen=True, slots=True)
class Item:
    """A matrix to score: its name, its work in the units of `svd.cost`, the bytes that it takes
    while it is in work. It goes `alone` after its process has ended once."""

    name: str
    cost: float
    need: int
    alone: bool = False


class Pile:
    """The matrices that are left, the costliest on top."""

    def __init__(self, items: list[Item]) -> None:
        self._items = deque(sorted(items, key=lambda item: item.cost, reverse=True))
        self.cost = sum(item.cost for item in items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def top(self) -> Item:
        """The one that is taken first."""
        return self._items[0]

    def take(self, seconds_per_cost: float, processes: int, at_once: int = 1) -> list[Item]:
        """Take what one of `processes` does next, which computes `at_once`: `MOST` seconds of work,
        and towards the end half of an equal share, so that all end together. As many as it can
        begin with, while the speed is unknown (0)."""
        budget = 0.0
        if seconds_per_cost:
            budget = min(MOST / seconds_per_cost, self.cost / (2 * processes))
        least = min(at_once, -(-len(self) // processes))
        taken = [self._items.popleft()]
        cost = taken[0].cost
        while self._items and not taken[0].alone and not self.top.alone:
            if len(taken) >= least and cost + self.top.cost > budget:
                break
            cost += self.top.cost
            taken.append(self._items.popleft())
        self.cost = self.cost - cost if self._items else 0.0
        return taken

    def put_back(self, items: list[Item]) -> None:
        """Lay these on top again."""
        self._items.extendleft(reversed(items))
        self.cost += sum(item.cost for item in items)
