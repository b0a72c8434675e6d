"""How fast a scan is, and how long what is left of it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from spectrum_tui.core import numbers
from spectrum_tui.core.events import NETWORK_WAITS, Fetched

RATE_SECONDS = 10.0
"""The window of the rates that are shown."""
ESTIMATE_SECONDS = 60.0
"""The window of the time left: long, so that one odd matrix does not make the estimate jump."""


class Window:
    """Sums over the last seconds of work, from one finished matrix to another."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._items: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._anchor = 0.0

    def restart(self, now: float) -> None:
        """Forget everything; work begins now."""
        self._items.clear()
        self._bytes = 0
        self._anchor = now

    def add(self, now: float, nbytes: int) -> None:
        """Count a finished matrix."""
        self._items.append((now, nbytes))
        self._bytes += nbytes
        # The newest always stays: a matrix may take longer than the window.
        while len(self._items) > 1 and self._items[0][0] < now - self._seconds:
            self._anchor, gone = self._items.popleft()
            self._bytes -= gone

    def rates(self) -> tuple[float, float]:
        """Bytes and matrices a second; zeros while nothing can be said."""
        span = self._items[-1][0] - self._anchor if self._items else 0.0
        if span <= 0:
            return 0.0, 0.0
        return self._bytes / span, len(self._items) / span


class Rate:
    """Seconds per unit of cost, of one worker, over the matrices finished lately.

    Compared with their estimated cost: counting finished work per time of day instead would miss
    what is half done, as the costliest matrices come first and a vocabulary matrix may be a tenth
    of the scan.
    """

    def __init__(self) -> None:
        self._items: deque[tuple[float, float, float]] = deque()
        # Kept as they change: to add up a minute of 1,000 matrices a second takes 20 ms.
        self._cost = self._seconds = 0.0

    def add(self, now: float, cost: float, seconds: float) -> None:
        """Count a matrix of this cost that was finished at `now` and took `seconds`."""
        while self._items and self._items[0][0] < now - ESTIMATE_SECONDS:
            _, gone_cost, gone_seconds = self._items.popleft()
            self._cost -= gone_cost
            self._seconds -= gone_seconds
        if not self._items:
            self._cost = self._seconds = 0.0  # what rounding has left
        self._items.append((now, cost, seconds))
        self._cost += cost
        self._seconds += seconds

    @property
    def seconds_per_cost(self) -> float:
        """Zero while nothing can be said."""
        return self._seconds / self._cost if self._cost > 0 else 0.0


def seconds_left(
    cost_left: float, seconds_per_cost: float, workers: int, in_work: Sequence[tuple[float, float]]
) -> float:
    """Seconds until `cost_left` is done, of which `in_work` are (cost, seconds at it already).

    Never less than the longest matrix in work still needs. One that has taken longer than it
    should counts as nearly done.
    """
    expected = [cost * seconds_per_cost for cost, _ in in_work]
    done = [min(at, most) for (_, at), most in zip(in_work, expected, strict=True)]
    longest = max((most - at for most, at in zip(expected, done, strict=True)), default=0.0)
    return max(longest, (cost_left * seconds_per_cost - sum(done)) / max(1, workers))


def over_network(nbytes: int, speed: float) -> float:
    """Return the seconds that so many bytes take, 0 where nothing can be said."""
    return max(nbytes, 0) / speed if speed > 0 else 0.0


def network_line(fetched: Fetched) -> str:
    """Return how a scan over the network goes on: `42.0 MB/s · 12.3 of 163 GB`, or `12.3 GB so
    far`."""
    speed = NETWORK_WAITS if fetched.waited else f"{numbers.size(fetched.speed)}/s"
    if not fetched.total:
        return f"{speed} · {numbers.size(fetched.done)} so far"
    done, total = numbers.size(fetched.done), numbers.size(fetched.total)
    same = done.rpartition(" ")[2] == total.rpartition(" ")[2]
    return f"{speed} · {done.rpartition(' ')[0] if same else done} of {total}"
