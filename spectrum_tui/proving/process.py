"""One process for one row, and how it ended: without torch."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import IO

from spectrum_tui.core.logs import log_file
from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.platforms import end_group, own_group
from spectrum_tui.core.proof.rows import Job, Outcome, Progress, job_text, message_of
from spectrum_tui.proving.ends import ended, killed
from spectrum_tui.worker.process import describe_exit

COMMAND = (sys.executable, "-P", "-m", "spectrum_tui.proving")
_OF_A_GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher around us has set for a training of its own."""


class OwnProcess:
    """A process that gets one line on stdin and answers in lines; `end` may be called from any
    thread."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._unwanted = False

    def end(self) -> None:
        """End the process and what it has started, now or as soon as it is there."""
        with self._lock:
            self._unwanted = True
            if self._process is not None and self._process.poll() is None:
                end_group(self._process, now=True)

    def follow(
        self,
        line: str,
        log: IO[str] | None,
        hear: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> int:
        """Start it with a line, call `hear` with each of its lines, and return its exit code.
        Raises OSError where it cannot be started."""
        process = self._started(log, environment)
        assert process.stdin is not None and process.stdout is not None
        try:
            with contextlib.suppress(OSError):  # it may be gone already
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
            for said in process.stdout:
                with contextlib.suppress(ValueError):
                    hear(said)
            return process.wait()
        finally:  # Ctrl-C, or a listener that wants no more
            if process.poll() is None:
                end_group(process, now=True)
                process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()

    def _started(
        self, log: IO[str] | None, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        with self._lock:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log if log is not None else subprocess.DEVNULL,
                env=environment,
                encoding="utf-8",
                errors="replace",
                **own_group(),
            )
            if self._unwanted:
                end_group(self._process, now=True)
            return self._process


class RowProcess(OwnProcess):
    """The process of a row."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        super().__init__(command)

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        """Return what came of the row, and whether it may be kept: not where the system killed the
        process, which may go better another time. The outcome is None after `end`."""
        with log_file("row") as (path, log):
            try:
                outcome, code = self._followed(job, log, tell)
            except OSError as exc:
                problem = f"The process of the row cannot be started: {exc.strerror or exc}."
                return ended(job.row, problem), False
        if self._unwanted:
            return None, False
        if outcome is not None:
            unexpected = outcome.error and not outcome.hint and path
            return replace(outcome, hint=f"Details are in {path}.") if unexpected else outcome, True
        if code == -getattr(signal, "SIGKILL", 9):
            return ended(job.row, *killed(job)), False
        details = f"Details are in {path}." if path else ""
        return ended(job.row, f"The process of the row {describe_exit(code)}.", details), False

    def _followed(
        self, job: Job, log: IO[str] | None, tell: Callable[[Progress], None]
    ) -> tuple[Outcome | None, int]:
        outcomes: list[Outcome] = []

        def hear(line: str) -> None:
            said = message_of(line)
            if isinstance(said, Outcome):
                outcomes.append(said)
            else:
                tell(said)

        code = self.follow(job_text(job), log, hear, _environment(job))
        return (outcomes[-1] if outcomes else None), code


def _environment(job: Job) -> Mapping[str, str]:
    own = {name: value for name, value in own_environment().items() if name not in _OF_A_GROUP}
    if job.conditions.device == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""  # 4-bit weights would go to a GPU unasked
    # Set before CUDA begins: its matrix products are not repeatable otherwise.
    return {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", **own}
