"""Directing the fake worker from a test, and waiting for what follows."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from spectrum_tui.app.base import BaseApp
from spectrum_tui.core import wire
from spectrum_tui.core.requests import Request, Task
from spectrum_tui.worker import client
from spectrum_tui.worker.process import Listener
from tests import fake_worker
from tests.fake_worker import FakeWorker

PATIENCE = 15.0
"""Only a test that fails waits this long."""


class Control:
    """The control file of a fake worker that is a process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "control"
        self._file.write_text("", encoding="utf-8")
        self.command = [sys.executable, str(Path(fake_worker.__file__)), str(self._file)]

    def tell(self, *lines: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def requests(self, task: Task) -> list[Request]:
        log = self._file.with_suffix(".log")
        if not log.exists():
            return []
        lines = log.read_text(encoding="utf-8").splitlines()
        return [request for request in map(wire.decode, lines) if request.task == task]


class DirectControl:
    """A fake worker in a thread of this process, for tests that need no process to end.

    A process takes 0.5 s of the processor more: its imports, and looking for what it is told.
    """

    pid: int | None = None
    log = ""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._todo: queue.SimpleQueue[Callable[[FakeWorker], None]] = queue.SimpleQueue()
        self._requests: list[Request] = []
        monkeypatch.setattr(client, "WorkerProcess", self._start)

    def tell(self, *lines: str) -> None:
        for line in lines:
            self._todo.put(lambda worker, line=line: worker.obey(line))  # type: ignore[misc]

    def requests(self, task: Task) -> list[Request]:
        return [request for request in self._requests if request.task == task]

    # -- as a `WorkerProcess` ------------------------------------------------------------------

    def _start(self, command: object, listener: Listener) -> DirectControl:
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return self

    def _serve(self, listener: Listener) -> None:
        worker = FakeWorker(lambda line: listener.on_line(self, line))  # type: ignore[arg-type]
        while True:
            self._todo.get()(worker)

    def send(self, request: Request) -> None:
        def receive(worker: FakeWorker) -> None:
            sent = wire.decode(wire.encode(request))
            self._requests.append(sent)
            worker.receive(sent)

        self._todo.put(receive)

    def close(self) -> None:
        """Nothing to end: the thread is a daemon that waits for an empty queue."""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)
    await pilot.pause()
    app = pilot.app
    while isinstance(app, BaseApp) and not app.unasked.is_over:  # as who looks before he presses
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)
