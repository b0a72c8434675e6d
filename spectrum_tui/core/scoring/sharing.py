"""Threads that help each other with the parts of one large piece of work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _Shared:
    """Work in `count` parts: which are taken, and the results that wait for their turn."""

    def __init__(self, work: Callable[[int], Any], count: int) -> None:
        self.work = work
        self.count = count
        self.taken = self.given = 0
        self.results: dict[int, Any] = {}


class Sharing:
    """What the threads of a scan have open to each other; `most` parts of one work at a time.

    Results come in the order of the parts, whoever makes them and whenever, so that sums over
    them are the same to the last bit for any number of threads. No part is taken that is `most`
    or more ahead of the result that is waited for: that many are in memory at the most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: list[_Shared] = []
        self._closed = False
        self._changed = threading.Condition()

    def each(self, work: Callable[[int], T], count: int) -> Iterator[T]:
        """Yield `work(0)` to `work(count - 1)`, made in this thread and in those that help."""
        shared = _Shared(work, count)
        with self._changed:
            self._open.append(shared)
            self._changed.notify_all()
        try:
            while shared.given < count:
                yield self._next(shared)
        finally:
            with self._changed:
                self._open.remove(shared)

    def help(self) -> bool:
        """Make one part of what another thread has open; False where there is none."""
        with self._changed:
            found = next((one for one in self._open if self._may_take(one)), None)
            if found is None:
                return False
            part = self._take(found)
        self._make(found, part)
        return True

    def serve(self) -> None:
        """Help until `close` is called."""
        while not self._closed:
            if self.help():
                continue
            with self._changed:
                if not self._closed and not any(map(self._may_take, self._open)):
                    self._changed.wait()

    def close(self) -> None:
        """Let those who serve end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self, shared: _Shared) -> Any:
        """Return the result whose turn it is, making others as long as it is not there."""
        while True:
            with self._changed:
                if shared.given in shared.results:
                    made, result = shared.results.pop(shared.given)
                    shared.given += 1
                    self._changed.notify_all()  # one more may be taken
                    if made:
                        return result
                    raise result
                if not self._may_take(shared):
                    self._changed.wait()
                    continue
                part = self._take(shared)
            self._make(shared, part)

    def _may_take(self, shared: _Shared) -> bool:
        return shared.taken < min(shared.count, shared.given + self._most)

    def _take(self, shared: _Shared) -> int:
        shared.taken += 1
        return shared.taken - 1

    def _make(self, shared: _Shared, part: int) -> None:
        try:
            result = True, shared.work(part)
        except BaseException as exc:  # of whatever kind: it ends the work of who asked for it
            result = False, exc
        with self._changed:
            shared.results[part] = result
            self._changed.notify_all()


class _OfThread(threading.local):
    sharing: Sharing | None = None


_of_thread = _OfThread()


@contextmanager
def helped_by(sharing: Sharing | None) -> Iterator[None]:
    """While it lasts, what this thread makes in parts is open to the threads of `sharing`."""
    _of_thread.sharing = sharing
    try:
        yield
    finally:
        _of_thread.sharing = None


@contextmanager
def helping(sharing: Sharing | None, threads: int) -> Iterator[None]:
    """While it lasts, threads that have no work of their own help."""
    if sharing is None:
        yield
        return
    running = [threading.Thread(target=sharing.serve, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        sharing.close()
        for thread in running:
            thread.join()


def each(work: Callable[[int], T], count: int) -> Iterator[T]:
    """Yield `work(0)` to `work(count - 1)`, with the help that this thread has."""
    sharing = _of_thread.sharing
    if sharing is None or count == 1:
        return map(work, range(count))
    return sharing.each(work, count)
