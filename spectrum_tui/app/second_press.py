"""The second of two quick presses whose first closed the dialog that both were meant for: it goes
nowhere. Else a double click on a button, or enter pressed twice, works on the screen below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.events import Event, Key, MouseDown, MouseUp
from textual.screen import ModalScreen, Screen

SECONDS = 0.5
"""Between two presses of a pair, as Textual counts double clicks."""
_MORE = ("escape",)
"""Keys that go back one screen each time that they are pressed."""


class SecondPress:
    """Remembers the last press, and the screen that it was for."""

    def __init__(self) -> None:
        self._what: tuple[object, ...] = ()
        self._time = -SECONDS
        self._screen: Screen[Any] | None = None
        self._released = True

    def is_stray(self, event: Event, stack: Sequence[Screen[Any]], *, drop: bool = False) -> bool:
        """Return whether an event belongs to a press that must go nowhere, as one does that is to
        `drop`; `stack` are the screens that there are when it would take effect."""
        if isinstance(event, MouseUp):
            stray, self._released = not self._released, True
            return stray
        if drop:
            self._released = not isinstance(event, MouseDown)
            return True
        if not isinstance(event, Key | MouseDown):
            return False
        key = isinstance(event, Key)
        what = ("key", event.key) if isinstance(event, Key) else ("mouse", event.x, event.y)
        again = what == self._what and event.time - self._time <= SECONDS
        closed = isinstance(self._screen, ModalScreen) and self._screen not in stack
        self._time = event.time
        if again and closed and not (key and what[1] in _MORE):
            self._released = key
            return True
        self._what, self._screen = what, stack[-1] if stack else None
        return False
