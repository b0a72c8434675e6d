"""Waiting for files that are out of reach for a while, together for all threads that read them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from spectrum_tui.core.checkpoint.file_state import FileState, check_unchanged
from spectrum_tui.core.checkpoint.sources import rest_answers
from spectrum_tui.core.errors import CheckpointError, OutOfReachError
from spectrum_tui.core.events import ScanNote
from spectrum_tui.core.hub.outage import FIRST_WAIT, GIVE_UP, MOST_WAIT, TOLD_AFTER
from spectrum_tui.core.numbers import duration

TRIES = 6
"""Failures of one matrix, while the rest of its file can be read, after which it has no score: 19 s
from the first to the last."""

_TICK = 0.1


class Alone:
    """How often what one matrix is read from has failed while the rest of its file could be
    read."""

    def __init__(self) -> None:
        self._failures = 0

    def waits(self, error: OutOfReachError) -> float:
        """Return the seconds until the next attempt; 0 where more than this part is out of reach.
        Raises CheckpointError in the end."""
        is_alone = error.passes and error.part is not None and rest_answers(*error.part)
        self._failures = self._failures + 1 if is_alone else 0
        if self._failures == TRIES:
            reason = error.message.rstrip(".")
            raise CheckpointError(f"{reason}, though the rest of the file can be read.")
        return min(FIRST_WAIT * 2**self._failures, MOST_WAIT) if is_alone else 0.0


class Absence:
    """Since when files are out of reach; `say` gets a line once it lasts, and at its end. `stopped`
    waits some seconds, or until somebody stops, and returns whether that is so.

    As long as for a network that is read from directly: hf-mount gives up each read within seconds.
    """

    def __init__(self, stopped: Callable[[float], bool], say: Callable[[str], None]) -> None:
        self._stopped, self._say = stopped, say
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = False
        self._waits = FIRST_WAIT

    def wait(self, error: OutOfReachError, seconds: float = 0.0) -> None:
        """Wait before the next attempt, these seconds if it is not of the mount; raise the error
        where that is of no use, after a while, and once somebody stops."""
        if not error.passes or (seconds and self._stopped(seconds)):
            raise error
        if seconds:
            return
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since, self._waits = now, FIRST_WAIT
            if not self._told and now - self._since >= TOLD_AFTER:
                self._told = True
                self._say(f"{error.message} It is waited for, {duration(GIVE_UP)} at most.")
            waits = self._waits = min(2 * self._waits, MOST_WAIT)
            over = now - self._since > GIVE_UP
        if over or self._stopped(waits):
            raise error

    @property
    def is_over(self) -> bool:
        """Whether nothing is out of reach."""
        return self._since is None

    def over(self) -> None:
        """Note that a file was read."""
        if self._since is None:
            return
        with self._lock:
            told, self._since, self._told = self._told, None, False
        if told:
            self._say("The files can be read again.")


def unchanged(
    files: Mapping[str, FileState | None], cancelled: Callable[[], bool]
) -> Iterator[ScanNote]:
    """Look whether files are those that were inspected, as soon as they can be looked at; raises as
    `check_unchanged`, and yields what is said of the wait."""
    said: deque[str] = deque()
    away = Absence(lambda seconds: _stopped(seconds, cancelled), said.append)
    while True:
        try:
            check_unchanged(files)
        except OutOfReachError as exc:
            away.wait(exc)
        else:
            away.over()
        yield from map(ScanNote, said)
        if away.is_over:
            return
        said.clear()


def _stopped(seconds: float, cancelled: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not cancelled() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _TICK))
    return cancelled()
