"""Waiting for files that are out of reach for a while, together for all threads that read them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from spectrum_tui.core.errors import OutOfReachError
from spectrum_tui.core.hub.outage import FIRST_WAIT, GIVE_UP, MOST_WAIT, TOLD_AFTER
from spectrum_tui.core.numbers import duration


class Absence:
    """Since when files are out of reach; `say` gets a line once it lasts, and at its end.

    As long as for a network that is read from directly: hf-mount gives up each read within seconds.
    """

    def __init__(self, stopped: threading.Event, say: Callable[[str], None]) -> None:
        self._stopped, self._say = stopped, say
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = False
        self._waits = FIRST_WAIT

    def wait(self, error: OutOfReachError) -> None:
        """Wait before the next attempt; raise the error where that is of no use, after a while, and
        once somebody stops."""
        if not error.passes:
            raise error
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since, self._waits = now, FIRST_WAIT
            if not self._told and now - self._since >= TOLD_AFTER:
                self._told = True
                self._say(f"{error.message} It is waited for, {duration(GIVE_UP)} at most.")
            waits = self._waits = min(2 * self._waits, MOST_WAIT)
            over = now - self._since > GIVE_UP
        if over or self._stopped.wait(waits):
            raise error

    def over(self) -> None:
        """Note that a file was read."""
        if self._since is None:
            return
        with self._lock:
            told, self._since, self._told = self._told, None, False
        if told:
            self._say("The files can be read again.")
