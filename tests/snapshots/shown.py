"""An app that shows one screen, brought into a state and held still for its picture."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.theme import DARK


class Shown(BaseApp):
    """One screen by itself; `prepare` brings it into its state before the picture."""

    def __init__(self, screen: Screen[Any], theme: str = DARK.name) -> None:
        super().__init__()
        self.theme = theme
        self.animation_level = "none"
        self.shown = screen

    def get_default_screen(self) -> Screen[Any]:
        return self.shown


Prepare = Callable[[Pilot[Any]], Awaitable[None]]


def still(*keys: str, before: Callable[[], object] = lambda: None) -> Prepare:
    """Do `before`, press keys, and hold every cursor still."""

    async def prepare(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        before()
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await pilot.pause()

    return prepare
