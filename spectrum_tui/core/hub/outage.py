"""Waiting for a network or a server, together for all threads that read from it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.client_faults import client_fault, try_again
from spectrum_tui.core.hub.errors import RateLimitedError, chain, is_cut, network_reason
from spectrum_tui.core.hub.patience import LONGEST_WAIT
from spectrum_tui.core.text import safe

GIVE_UP = 600.0
"""Seconds without a byte in any thread after which a scan is interrupted."""

FIRST_WAIT, MOST_WAIT = 0.3, 15.0
"""Seconds before the next attempt after a failure, twice as many each time."""

TOLD_AFTER = 2.0
"""Seconds without a byte after which a person is told that the network is waited for."""

_TICK = 0.1


class GivenUpError(HubError):
    """A network or server that was waited for in vain, or until somebody stopped."""


class Outage:
    """When to ask again, and when not to any more; the first error of any thread ends all waits."""

    def __init__(self, *, check: Callable[[], None]) -> None:
        self._stop = check
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._until = 0.0
        self._since: float | None = None
        self.reason = ""
        """Why nothing comes at the moment, once that has lasted for a while; a sentence."""

    def check(self) -> None:
        """Raise the error that has ended it in another thread, or what whoever may stop raises."""
        if self._error is not None:
            raise self._error
        self._stop()

    def fail(self, error: BaseException) -> None:
        """End all waits with this error; the first one counts."""
        with self._lock:
            self._error = self._error or error

    def begin(self) -> None:
        """Forget the error that has ended earlier reads."""
        self._error = None

    def over(self) -> None:
        """Note that bytes come again."""
        if (self._since is not None or self.reason) and time.monotonic() >= self._until:
            with self._lock:
                self._since, self.reason = None, ""

    def waits(self) -> Iterator[float]:
        """Yield the seconds before each further attempt of one request; spread, so that threads
        do not all ask at once."""
        seconds = FIRST_WAIT
        while True:
            yield seconds * (0.7 + 0.6 * random.random())
            seconds = min(2 * seconds, MOST_WAIT)

    def hold(self) -> None:
        """Wait until the time that a server has named is over."""
        self._pause(self._until)

    def limited(self, exc: RateLimitedError, waits: Iterator[float]) -> None:
        """Let nobody ask before the time that a server names; raise where that is too far away."""
        seconds = exc.seconds if exc.seconds < float("inf") else 0.0
        if seconds > LONGEST_WAIT:
            raise exc
        seconds = max(seconds, next(waits, 0.0))  # a server may name 0 s, or a time that is over
        self._note()
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)
        self._tell(f"The server asks to wait {numbers.duration(max(seconds, 1.0))}.", seconds)
        self._give_up(given_up(exc))

    def wait(self, exc: Exception, waits: Iterator[float]) -> None:
        """Wait before the next attempt after a failure; raise what it means after `GIVE_UP`."""
        self._note()
        error = lost(exc)
        self._give_up(given_up(error))
        self._tell(error.message, 0.0)
        self._pause(time.monotonic() + next(waits))

    def _note(self) -> None:
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        since = self._since
        if since is not None and time.monotonic() - since > GIVE_UP:
            raise error

    def _tell(self, text: str, seconds: float) -> None:
        with self._lock:
            if self._since is None:  # bytes have come in another thread since this one failed
                return
            if seconds + time.monotonic() - self._since >= TOLD_AFTER:
                self.reason = text

    def _pause(self, until: float) -> None:
        self.check()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            self.check()


def given_up(error: HubError) -> GivenUpError:
    """Return the same error as one of a wait in vain."""
    return GivenUpError(error.message, error.hint, field=error.field)


def lost(exc: Exception) -> HubError:
    """Return the error for a server that cannot be reached or that sends nothing."""
    if fault := client_fault(chain(exc)):
        return fault
    where = _host_of(exc)
    status = getattr(exc, "status", 0) or getattr(getattr(exc, "response", None), "status_code", 0)
    if status:
        message = f"{where} reports an error of its own (HTTP {status})."
    elif is_cut(exc):
        message = f"The connection to {_within(where)} broke off."
    elif isinstance(exc, TimeoutError) or "Timeout" in type(exc).__name__:
        message = f"{where} sends nothing."
    else:
        message = f"Cannot reach {_within(where)}{network_reason(exc)}."
    return HubError(message, try_again(), field="model")


def _within(where: str) -> str:
    return "the server" if where == "The server" else where


def _host_of(exc: Exception) -> str:
    """Return whom a request was for, from the client's own error."""
    if named := getattr(exc, "host", ""):
        return safe(str(named))
    for holder in (getattr(exc, "response", None), exc):
        with contextlib.suppress(RuntimeError, AttributeError):  # RuntimeError: it does not know
            return safe(str(holder.request.url.host))  # type: ignore[union-attr]
    return "The server"
