"""Keys and clicks that were meant for what was shown before, when the app changes it by itself.

A scan ends and its results open, the next model of a queue begins, a dialog gives way to what it
waited for. Whoever presses `s` at that moment to stop the scan sorted a table, escape left the
results, and the letters of a key went into the field that had just got the focus.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from textual.app import App
from textual.events import Event, Key, MouseDown, Paste
from textual.screen import Screen
from textual.widget import Widget

SECONDS = 0.5
"""After what is new was drawn: nobody has seen it and presses a key for it in less."""
DRAWN_SECONDS = 3.0
"""Until it counts as drawn, whatever happened to it."""
MOVES = frozenset(
    {"up", "down", "left", "right", "home", "end", "pageup", "pagedown", "tab", "shift+tab"}
)
"""Keys that only move: a map goes on where that of the scan was left."""


def _now() -> float:
    """Return the time as events have it, which is not the same clock on every system."""
    return Event().time


class Unasked:
    """Remembers what keys meant before the last change that no key asked for."""

    def __init__(self) -> None:
        self._meant: frozenset[str] = frozenset()
        self._focused: Widget | None = None
        self._until = 0.0
        self._changes = 0

    @property
    def is_over(self) -> bool:
        """Whether every key means what is shown."""
        return _now() > self._until

    def changes(self, screen: Screen[Any]) -> None:
        """Note that this screen is about to change, or to make way, without having been asked."""
        app = screen.app
        active = screen.active_bindings.items()
        meant = {key for key, binding in active if not isinstance(binding.node, App)} - MOVES
        self._meant = frozenset(meant if self.is_over else meant | self._meant)
        self._focused = screen.focused
        self._until = _now() + DRAWN_SECONDS
        self._changes += 1
        app.call_after_refresh(self._changed, app, self._changes)

    def _changed(self, app: App[Any], number: int) -> None:
        # Another screen has drawn nothing yet: it is still to be mounted.
        app.screen.call_after_refresh(self._drawn, number)

    def _drawn(self, number: int) -> None:
        if number == self._changes:  # else more has changed since
            self._until = min(self._until, _now() + SECONDS)

    def is_stray(self, event: Event, focused: Widget | None) -> bool:
        """Return whether a press was meant for what is gone: a click, a key that did something
        there, or text, where a field has just got the focus."""
        if event.time > self._until or not isinstance(event, Key | MouseDown | Paste):
            return False
        new = focused if focused is not self._focused else None
        if isinstance(event, Key):
            typed = new is not None and new.check_consume_key(event.key, event.character)
            return typed or event.key in self._meant
        return isinstance(event, MouseDown) or new is not None


@runtime_checkable
class DropsStray(Protocol):
    """An app that lets no key through that was meant for what is gone."""

    unasked: Unasked


def by_itself(screen: Screen[Any]) -> None:
    """Call before a screen changes what its keys do, or makes way, when no key asked for it; one
    that lies below another has no keys."""
    if isinstance(screen.app, DropsStray) and screen.app.screen is screen:
        screen.app.unasked.changes(screen)
