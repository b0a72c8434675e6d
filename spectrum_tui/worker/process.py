"""One worker process and the two threads that talk to it, so that the app never waits for it.

`subprocess` and not `multiprocessing`: the latter passes Textual's captured stderr, which has no
file number, to the new process and fails. The process has its own session, so that a Ctrl-C or a
closing terminal reaches it only through the app, and its stderr goes to a file, because a warning
written to the terminal would smear the screen.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Protocol

from spectrum_tui.core import wire
from spectrum_tui.core.logs import log_file
from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.platforms import end_group, own_group, resident_bytes
from spectrum_tui.core.requests import Request

STOP_WAIT = 0.5
"""Seconds between asking a process to end and ending it; everything finished is on disk by then."""


class Listener(Protocol):
    """Who gets what a process says; called on the process's own threads."""

    def on_line(self, process: WorkerProcess, line: str) -> None:
        """Take a line that the process wrote."""

    def on_idle(self, process: WorkerProcess) -> float | None:
        """Nothing to send for the moment; return seconds until the next call, None for none."""

    def on_end(self, process: WorkerProcess, reason: str) -> None:
        """Take note that the process is gone; `reason` says how, as the end of a sentence."""


def default_command() -> list[str]:
    """Return the worker of this package under this interpreter; start it with `own_environment`.

    `-P`: without it a `torch.py` in the folder that the user happens to be in would be imported.
    """
    return [sys.executable, "-P", "-m", "spectrum_tui.worker"]


def describe_exit(code: int) -> str:
    """Return how a process ended, as the end of a sentence.

    >>> describe_exit(-9), describe_exit(3)
    ('was killed (SIGKILL; out of memory?)', 'ended with exit code 3')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name}; out of memory?)" if code == -9 else f"was killed ({name})"


class WorkerProcess:
    """A process that is starting, running or gone; requests wait until it can take them."""

    def __init__(self, command: Sequence[str], listener: Listener) -> None:
        self._command = list(command)
        self._listener = listener
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._unwanted = False
        self.log = ""
        threading.Thread(target=self._serve, name="worker reader", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def send(self, request: Request) -> None:
        """Queue a request; never waits."""
        self._outbox.put(wire.encode(request))

    def memory(self) -> int:
        """Resident bytes of the process, 0 where the system does not tell."""
        return resident_bytes(self.pid)

    def kill(self) -> None:
        """End the process and its children now, or as soon as it has started."""
        with self._lock:
            self._unwanted = True
            self._end(now=True)
        self._outbox.put(None)

    def close(self) -> None:
        """End the process: ask, wait at most `STOP_WAIT` seconds, insist."""
        with self._lock:
            self._unwanted = True
            self._end(now=False)
        self._outbox.put(None)
        deadline = time.monotonic() + STOP_WAIT
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()

    def _end(self, *, now: bool) -> None:
        if self._process is not None and self._process.poll() is None:
            end_group(self._process, now=now)

    def _serve(self) -> None:
        try:
            with log_file("worker") as (self.log, log):
                process = self._spawn(log)
        except OSError as exc:
            self._listener.on_end(self, f"could not be started: {exc.strerror or exc}")
            return
        threading.Thread(target=self._feed, name="worker writer", daemon=True).start()
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout:
                self._listener.on_line(self, line)
        code = process.wait()
        self._outbox.put(None)
        self._listener.on_end(self, describe_exit(code))

    def _spawn(self, log: IO[str] | None) -> subprocess.Popen[str]:
        with self._lock:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log if log is not None else subprocess.DEVNULL,
                env=own_environment(),
                encoding="utf-8",
                errors="replace",
                **own_group(),
            )
            if self._unwanted:
                self._end(now=True)
            return self._process

    def _feed(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._requests():
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _requests(self) -> Iterator[str]:
        while True:
            try:
                line = self._outbox.get(timeout=self._listener.on_idle(self))
            except queue.Empty:
                continue
            if line is None:
                return
            yield line
