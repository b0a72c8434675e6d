"""Several things at once, in threads that nobody has to wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")

THREADS_WAIT = 1.0
"""Seconds that the other threads of `each` have after the first error."""


def each(
    work: Callable[[A], T], items: Sequence[A], workers: int, stop: Callable[[], None] | None = None
) -> list[T]:
    """`work(item)` of all items, `workers` at a time, in the order of the items.

    The first error ends it, and so does Ctrl-C: the threads are left behind, and Python does not
    wait for them at its end, as it does for those of a ThreadPoolExecutor. With `stop`, which
    tells them to end, they get a moment to tidy up.
    """
    answers: SimpleQueue[tuple[int, T | None, BaseException | None]] = SimpleQueue()
    waiting, lock, ended = iter(enumerate(items)), threading.Lock(), threading.Event()

    def run() -> None:
        while not ended.is_set():
            with lock:
                number, item = next(waiting, (-1, None))
            if number < 0:
                return
            try:
                answers.put((number, work(item), None))  # type: ignore[arg-type]
            except BaseException as exc:  # of any kind: it crosses to the caller's thread
                answers.put((number, None, exc))

    count = min(workers, len(items))
    threads = [threading.Thread(target=run, name="hub", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    results: dict[int, T] = {}
    try:
        while len(results) < len(items):
            number, result, error = answers.get()
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]
    finally:
        ended.set()
        if stop is not None and len(results) < len(items):
            stop()
            _join(threads)
    return [results[number] for number in range(len(items))]


def aside(work: Callable[[], T]) -> T:
    """`work()`, in a thread that Ctrl-C leaves behind: a thread inside the read of a mount that
    hangs sees no signal."""
    (result,) = each(lambda do: do(), [work], 1)
    return result


def _join(threads: Sequence[threading.Thread]) -> None:
    end = time.monotonic() + THREADS_WAIT
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
