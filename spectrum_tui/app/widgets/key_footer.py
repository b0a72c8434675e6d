"""The keys that work now, at the foot of every screen: the screen's own, help, and quit."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer

MOST_KEYS = 7
"""More than these would not be read, and would not fit 80 columns."""


class KeyFooter(Footer):
    """Leaves quit out where it would be one key too many; it works all the same."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        """One item a key: the focused widget's, the screen's, help, quit."""
        every = list(super().compose())
        keys = [key for key in every if getattr(key, "action", "") != "quit"]
        yield from keys
        if len(every) <= MOST_KEYS:
            yield from (key for key in every if key not in keys)
