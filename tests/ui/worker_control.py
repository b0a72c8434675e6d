"""Directing the fake worker from a test, and waiting for what follows."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from spectrum_tui.core import wire
from spectrum_tui.core.requests import Request, Task
from tests import fake_worker

PATIENCE = 15.0
"""Only a test that fails waits this long."""


class Control:
    """The control file of a fake worker."""

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
