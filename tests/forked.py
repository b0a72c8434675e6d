"""Work in a copy of this process, which is what a child process is for where it is not to be a new
one: what it changes is gone with it, and it need not import torch and transformers, 5 s, again."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import IO

_FORK = multiprocessing.get_context("fork")


class Forked:
    """A copy of this process that calls `work` and ends, with pipes and variables of its own."""

    def __init__(self, work: Callable[[], object], **environment: str) -> None:
        self._streams = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115
        self._process = _FORK.Process(target=self._run, args=(work, environment))
        self._process.start()

    def _run(self, work: Callable[[], object], environment: dict[str, str]) -> None:
        for number, stream in enumerate(self._streams, 1):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = (_opened(number) for number in (1, 2))
        os.environ.update(environment)
        work()

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def send(self, signal: int) -> None:
        """Send it a signal."""
        assert self._process.pid
        os.kill(self._process.pid, signal)

    def wait(self, timeout: float = 60) -> CompletedProcess[str]:
        """What it left when it ended; killed where it takes longer than `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        assert code is not None
        said = []
        for stream in self._streams:
            stream.seek(0)
            said.append(stream.read())
            stream.close()
        return CompletedProcess([], code, *said)


def _opened(number: int) -> IO[str]:
    return open(number, "w", encoding="utf-8", closefd=False)
