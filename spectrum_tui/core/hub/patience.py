"""How a hub is asked: again after a failure that may pass or the time that a 429 names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from spectrum_tui.core import numbers
from spectrum_tui.core.hub.errors import RateLimitedError, is_transient

T = TypeVar("T")

LONGEST_WAIT = 330.0
"""Seconds that are waited at a time; the hub counts requests in windows of 5 minutes."""

MOST_WAITS = 10
"""Waits of that kind for one model; 3,000 requests fit between two, and a model needs 200."""

WAITS = (0.3, 1.0)
"""Seconds before each further attempt after a passing failure; someone is waiting."""

_TICK = 0.1


class Patience:
    """When to ask again, for all threads that ask one hub for one model.

    `waits` are the seconds before each further attempt after a failure that may pass. `say` gets
    a line when the hub names a time; `check` is called ten times a second meanwhile, and ends the
    wait by raising.
    """

    def __init__(
        self,
        waits: Sequence[float] = WAITS,
        *,
        say: Callable[[str], None] = lambda text: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._waits, self._say, self.check = tuple(waits), say, check
        self._lock = threading.Lock()
        self._until = 0.0
        self._left = MOST_WAITS

    @property
    def waiting(self) -> bool:
        """Whether the time that the hub named is not over yet."""
        return time.monotonic() < self._until

    def ask(self, request: Callable[[], T]) -> T:
        """`request()`, repeated as long as that may help; raises what the last one raised."""
        waits = iter(self._waits)
        while True:
            self._pause(self._until)
            try:
                return request()
            except RateLimitedError as exc:
                self._hold(exc)
            except Exception as exc:
                wait = next(waits, None)
                if wait is None or not is_transient(exc):
                    raise
                self._pause(time.monotonic() + wait)

    def _hold(self, limited: RateLimitedError) -> None:
        """Let nobody ask before the time that was named; raise where it is too far away."""
        # A second more: the hub rounds down.
        until = time.monotonic() + limited.seconds + 1.0
        with self._lock:
            if until <= self._until:
                return  # another thread was told the same
            if limited.seconds > LONGEST_WAIT or not self._left:
                raise limited
            if not self.waiting:
                self._left -= 1
                self._say(
                    f"{limited.who} refuses further requests for "
                    f"{numbers.duration(limited.seconds + 1.0)} ({limited.kind}); waiting."
                )
            self._until = until

    def _pause(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _TICK))
