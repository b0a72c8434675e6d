"""A screen that remembers what is pressed."""

from __future__ import annotations

from textual import events
from textual.screen import Screen


class Pressed(Screen[None]):
    """Remembers every key and every press of a button of the mouse that reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.pressed: list[str] = []

    def on_key(self, event: events.Key) -> None:
        self.pressed.append(event.key)

    def on_mouse_down(self) -> None:
        self.pressed.append("down")

    def on_mouse_up(self) -> None:
        self.pressed.append("up")
