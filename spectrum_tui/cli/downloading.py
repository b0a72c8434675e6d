"""A download on the command line: how far it is, and what an interrupted one leaves."""

from __future__ import annotations

from collections.abc import Callable

from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core.events import NETWORK_WAITS
from spectrum_tui.core.model.inspection import Inspection, fetch
from spectrum_tui.core.numbers import size
from spectrum_tui.stdio.streams import say

BETWEEN = 5.0
"""Seconds between two lines where nobody watches."""


def downloaded(
    inspection: Inspection, tell: Callable[[float], None] = lambda share: None
) -> Inspection:
    """Download a model on the hub with progress on stderr; `tell` gets the share that is there.
    Raises HubError, OutputError, and KeyboardInterrupt after a line on what is kept."""
    line = StatusLine(first_after=min(1.0, BETWEEN), between=BETWEEN)

    def progress(done: int, total: int, speed: float, waits: bool) -> None:
        tell(done / total if total else 0.0)
        if line.is_due():
            rate = NETWORK_WAITS if waits else f"{size(speed)}/s"
            line.show(f"downloading {size(done)} of {size(total)}, {rate}")

    try:
        return fetch(inspection, progress=progress, say=say)
    except KeyboardInterrupt:
        line.clear()
        say("interrupted: finished files are kept, and the others as far as they came in order;")
        say("the same command downloads the rest")
        raise
    finally:
        line.clear()
