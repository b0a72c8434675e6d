"""Work beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def beside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do work on a plain daemon thread, and return what it comes to: asyncio's own threads would
    hold the exit until it is done, which a disk that does not answer never is."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def refuse(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the app has ended meanwhile
            try:
                result = work()
            except Exception as error:
                loop.call_soon_threadsafe(refuse, error)
            else:
                loop.call_soon_threadsafe(deliver, result)

    threading.Thread(target=run, daemon=True).start()
    return future
