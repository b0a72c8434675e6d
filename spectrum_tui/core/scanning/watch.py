"""Scores of files that may change unseen while they are read, as in a folder on the web: each is
kept once a later look at the files has found those that were inspected.

Only files that are replaced and put back between two looks are not noticed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from spectrum_tui.core.errors import HubError, ModelChangedError
from spectrum_tui.core.hub.outage import GivenUpError
from spectrum_tui.core.journal.journal import Entry, Journal
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.numbers import counted

BETWEEN = 30.0
"""Seconds between two looks at the least: what is lost where the process is killed."""

SHARE = 20
"""Times as long as a look has taken, until the next one: the files of 690 GB are 40 MB to look
at."""

GRACE = 5.0
"""Seconds for which a scan that is stopped looks."""


class Watch:
    """Holds scores back until `look` has found the files that were inspected.

    `look` raises ModelChangedError for other ones, HubError where it finds none, and what the check
    raises that it is given. With `marked` files each range has told whether it is of the same file:
    where no look is possible at the end, that is enough.
    """

    def __init__(
        self,
        look: Callable[[Callable[[], None]], None],
        cancelled: Callable[[], bool],
        *,
        marked: bool,
    ) -> None:
        self._look, self._cancelled, self._marked = look, cancelled, marked
        self._journal: Journal | None = None
        self._lock = threading.Lock()
        self._held: list[tuple[Entry, KeptSpectrum | None]] = []
        self._due = self._stopped = 0.0

    @contextmanager
    def over(self, journal: Journal) -> Iterator[Self]:
        """Keep scores in a journal as long as this lasts; at its end the last ones, or none of
        files that have changed.

        Raises ModelChangedError for those, HubError where files without marks cannot be looked at,
        and of its kind GivenUpError where that is since the scan was stopped.
        """
        self._journal = journal
        self._put_off(0.0)
        try:
            yield self
        except ModelChangedError:
            raise
        except Exception:
            with suppress(HubError):
                self._settle()
            raise
        self._settle()

    def append(self, entry: Entry, spectrum: KeptSpectrum | None = None) -> None:
        """Hold a matrix's scores back; called by many threads."""
        with self._lock:
            self._held.append((entry, spectrum))

    def look_if_due(self) -> None:
        """Look at the files, now and then. One that fails is made up for by the next one; raises
        ModelChangedError."""
        if time.monotonic() < self._due or not self._held:
            return
        begun = time.monotonic()
        with suppress(HubError):
            self._confirm()
        self._put_off(time.monotonic() - begun)

    @property
    def lost(self) -> frozenset[str]:
        """The matrices whose scores are not kept."""
        return frozenset(entry.layer for entry, _ in self._held)

    @property
    def note(self) -> str:
        """What is to be said of those; "" where there are none."""
        if not self._held:
            return ""
        scores = counted(len(self.lost), "matrix is", "matrices are")
        return (
            f"The scores of {scores} not kept: the server does not say when a file changes, and "
            "the files could not be looked at again."
        )

    def _put_off(self, seconds: float) -> None:
        self._due = time.monotonic() + max(BETWEEN, SHARE * seconds)

    def _settle(self) -> None:
        if not self._held:
            return
        try:
            self._confirm()
        except HubError:
            if not self._marked:
                raise
            self._keep(len(self._held))

    def _confirm(self) -> None:
        """Look, and keep what was read before."""
        count = len(self._held)
        self._look(self._check)
        self._keep(count)

    def _keep(self, count: int) -> None:
        """Write the first ones down."""
        assert self._journal is not None
        for entry, spectrum in self._held[:count]:
            self._journal.append(entry, spectrum)
        with self._lock:
            del self._held[:count]

    def _check(self) -> None:
        """Raise GivenUpError a while after the scan was stopped."""
        if not self._cancelled():
            return
        self._stopped = self._stopped or time.monotonic()
        if time.monotonic() - self._stopped > GRACE:
            raise GivenUpError("The scan was stopped while it looked at the files again.")
