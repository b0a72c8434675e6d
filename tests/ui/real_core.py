"""The app with the real core in this process: what the worker does, without its start-up."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import pytest

from spectrum_tui.core import wire
from spectrum_tui.core.requests import Ready, Request
from spectrum_tui.worker import client
from spectrum_tui.worker.process import Listener
from spectrum_tui.worker.server import Worker


class InProcessWorker:
    """A `WorkerProcess` whose process is a thread: real requests, real answers, a real pipe."""

    pid: int | None = None
    log = ""

    def __init__(self, command: Sequence[str], listener: Listener) -> None:
        self._listener = listener
        self._read, write = os.pipe()
        self._worker = Worker(write)
        # Not measured anew in every test; the devices are there before the first answer, as for
        # a user, who types slower.
        self._worker._send(Ready(("cpu",), {"cpu": 1e-9}))
        self._worker._torch_ready.set()
        threading.Thread(target=self._worker._serve, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, request: Request) -> None:
        self._worker._receive(wire.decode(wire.encode(request)))

    def memory(self) -> int:
        return 0

    def kill(self) -> None:
        """Nothing to end: the threads are daemons, blocked on an empty queue and pipe."""

    close = kill

    def _listen(self) -> None:
        with os.fdopen(self._read, encoding="utf-8") as lines:
            for line in lines:
                self._listener.on_line(self, line)  # type: ignore[arg-type]


def use_real_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on apps of this test have no worker process."""
    monkeypatch.setattr(client, "WorkerProcess", InProcessWorker)
