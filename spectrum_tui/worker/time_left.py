"""How long a scan will still take, from the matrices that are finished and those in work.

The seconds that each matrix took are compared with its estimated cost; what is left is the rest
of the cost at that rate, shared by the workers. Counting finished work per time of day instead
would miss what is half done: the costliest matrices come first, and a vocabulary matrix may be a
tenth of the scan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WINDOW_SECONDS = 60.0
"""What the rate is made of: long, so that one odd matrix does not make the estimate jump."""


class Rate:
    """Seconds per unit of cost, of one worker, over the matrices finished lately."""

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self._window = window
        self._items: deque[tuple[float, float, float]] = deque()

    def add(self, now: float, cost: float, seconds: float) -> None:
        """A matrix of this cost was finished at `now` and took `seconds`."""
        self._items.append((now, cost, seconds))
        while self._items[0][0] < now - self._window:
            self._items.popleft()

    @property
    def seconds_per_cost(self) -> float:
        """Zero while nothing can be said."""
        cost = sum(item[1] for item in self._items)
        return sum(item[2] for item in self._items) / cost if cost > 0 else 0.0


def seconds_left(
    cost_left: float,
    seconds_per_cost: float,
    workers: int,
    in_work: Sequence[tuple[float, float]],
) -> float:
    """Seconds until `cost_left` is done, of which `in_work` are (cost, seconds at it already).

    Never less than the longest matrix in work still needs. One that has taken longer than it
    should counts as nearly done.
    """
    expected = [cost * seconds_per_cost for cost, _ in in_work]
    done = [min(at, most) for (_, at), most in zip(in_work, expected, strict=True)]
    longest = max((most - at for most, at in zip(expected, done, strict=True)), default=0.0)
    return max(longest, (cost_left * seconds_per_cost - sum(done)) / max(1, workers))
