"""A request in a thread of its own, so that whoever waits for it can be stopped and can give it up.

The HTTP client waits for each byte on its own: a byte a second, or a head without an end, keeps it
for ever, and in a thread that waits for it neither a signal nor a stop of the scan has an effect.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

SLOWEST = 1_000
"""Bytes a second below which a connection counts as stalled."""

STALL = 20.0
"""Seconds of that after which it is given up."""

QUIET = 0.3
"""Seconds of that after which whoever waits looks whether it is to stop."""

MOST_PIECES = 8
"""Pieces of a body that wait to be taken."""

_TICK = 0.1


class StalledError(TimeoutError):
    """A connection over which almost nothing comes, from `host`."""

    def __init__(self, host: str = "") -> None:
        super().__init__()
        self.host = host


class LeftError(Exception):
    """Ends the thread of a request that nobody waits for any more."""


class Pace:
    """Whether bytes come fast enough: at `SLOWEST` or faster since they last did."""

    def __init__(self) -> None:
        self._since, self._seen = time.monotonic(), 0

    def moved(self, count: int) -> bool:
        """Return whether it gets on, now that `count` bytes have come in all."""
        now, new = time.monotonic(), count - self._seen
        if new <= 0 or new < SLOWEST * (now - self._since):
            return False
        self._since, self._seen = now, count
        return True

    def check(self, count: int, stop: Callable[[], None], host: str) -> None:
        """Call `stop`, which may raise, while too little comes; raise StalledError after a
        while."""
        if self.moved(count):
            return
        idle = time.monotonic() - self._since
        if idle > STALL:
            raise StalledError(host)
        if idle > QUIET:
            stop()

    def leave_out(self, seconds: float) -> None:
        """Do not count a time in which nothing was asked for."""
        self._since += seconds


class Attempt:
    """What the thread of a request tells whoever waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = False
        self.count = 0

    def came(self, count: int, take: Callable[[], None] = lambda: None) -> None:
        """Count bytes, and take them; raises LeftError once nobody waits for them."""
        with self._lock:
            if self._left:
                raise LeftError
            take()
            self.count += count

    def leave(self) -> None:
        """Have nothing taken any more."""
        with self._lock:
            self._left = True


def attended(
    work: Callable[[Attempt], T], check: Callable[[], None] = lambda: None, host: str = ""
) -> T:
    """`work(attempt)`, in a thread that is left behind where `check` raises or almost nothing
    comes (StalledError)."""
    attempt, ended, pace = Attempt(), threading.Event(), Pace()
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work(attempt))
        except BaseException as exc:  # of any kind: it crosses to the caller's thread
            answer.set_exception(exc)
        ended.set()

    threading.Thread(target=run, name="hub-request", daemon=True).start()
    try:
        while not ended.wait(_TICK):
            pace.check(attempt.count, check, host)
        return answer.result()
    finally:
        attempt.leave()


def attended_pieces(
    body: Callable[[], Iterator[bytes]], check: Callable[[], None], host: str = ""
) -> Iterator[bytes]:
    """Yield what `body()` yields in a thread of its own; ends as `attended` does."""
    pieces: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
    attempt, pace = Attempt(), Pace()

    def run() -> None:
        try:
            with closing(body()) as source:  # type: ignore[type-var]
                for piece in source:
                    attempt.came(len(piece))
                    pieces.put(piece)
                    while pieces.qsize() >= MOST_PIECES:
                        attempt.came(0)
                        time.sleep(_TICK / 10)
            pieces.put(None)
        except BaseException as exc:  # of any kind: it crosses to the caller's thread
            pieces.put(exc)

    threading.Thread(target=run, name="hub-request", daemon=True).start()
    try:
        while True:
            try:
                piece = pieces.get(timeout=_TICK)
            except Empty:
                pace.check(attempt.count, check, host)
                continue
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            pace.check(attempt.count, check, host)
            given = time.monotonic()
            yield piece
            pace.leave_out(time.monotonic() - given)
    finally:
        attempt.leave()
