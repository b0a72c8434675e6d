"""A line of progress on stderr, which is redrawn in place where somebody watches."""

from __future__ import annotations

import sys
import time

from spectrum_tui.stdio.streams import draw, say

_LONGEST = 200


class StatusLine:
    """Progress: on a terminal redrawn ten times a second, elsewhere a line `between` seconds."""

    def __init__(self, *, first_after: float | None = None, between: float = 10.0) -> None:
        """`first_after`: seconds until the first one, None for as long as between two."""
        self.on_terminal = sys.stderr.isatty()
        self._period = 0.1 if self.on_terminal else between
        early = 0.0 if first_after is None else self._period - first_after
        self._last = time.monotonic() - early
        self._shown = False

    def is_due(self) -> bool:
        """Return whether it is time for another one, which then counts as shown."""
        now = time.monotonic()
        if now - self._last < self._period:
            return False
        self._last = now
        return True

    def show(self, text: str) -> None:
        """Show how far the work is."""
        if self.on_terminal:
            draw(f"\r\x1b[K{text}"[:_LONGEST])
            self._shown = True
        else:
            say(text.strip())

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            draw("\r\x1b[K")
            self._shown = False
