"""A button that is clicked twice, or enter that is pressed twice, closes one dialog and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.screen import Screen

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.compare_file import CompareFileScreen
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.screens.memory import MemoryScreen
from spectrum_tui.app.screens.note import NoteScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.tiers import TiersScreen
from spectrum_tui.app.screens.write_file import WriteScreen
from spectrum_tui.app.second_press import SECONDS
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.policy_values import card_of
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.store import save_scores
from tests import made
from tests.ui.pressed import Pressed
from tests.ui.worker_control import until


class Below(Pressed):
    """Remembers clicks, too."""

    def on_click(self) -> None:
        self.pressed.append("click")


class Host(BaseApp):
    """A screen with a dialog over it."""

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"
        self.below = Below()
        self.answers: list[object] = []

    def get_default_screen(self) -> Screen[Any]:
        return Screen()

    async def open(self, dialog: Dialog[Any]) -> None:
        await self.push_screen(self.below)
        await self.push_screen(dialog, self.answers.append)


def choice() -> Choice:
    result = made.with_parameters(made.result(layers=4, types=3))
    return Choice(selection=Selection(result), policy=Policy(percent=50))


def confirm(folder: Path) -> Dialog[Any]:
    return ConfirmScreen("Leave?", "What is done is kept.", "Leave", "Stay")


def save(folder: Path) -> Dialog[Any]:
    return SaveScreen(choice(), str(folder))


def memory(folder: Path) -> Dialog[Any]:
    one = choice()
    card = card_of("80")
    return MemoryScreen(TrainingMemory(one.selection.result, Training(), card), one)


def compare(folder: Path) -> Dialog[Any]:
    save_scores(made.result(layers=4, types=3, model="made/other"), folder)
    return CompareFileScreen(made.result(layers=4, types=3), Policy(percent=50), str(folder))


Make = Callable[[Path], Dialog[Any]]
ENTER: dict[str, Make] = {
    "confirm": confirm,
    "save": save,
    "memory": memory,
    "compare": compare,
    "note": lambda folder: NoteScreen("Note", "text", 40),
    "tiers": lambda folder: TiersScreen(choice()),
    "write": lambda folder: WriteScreen(folder / "corrected.yaml", "text\n"),
}
CLICKS: dict[str, tuple[Make, str]] = {
    "yes": (confirm, "#yes"),
    "no": (confirm, "#no"),
    "save": (save, "#save"),
    "cancel": (save, "#cancel"),
    "offer": (memory, "#ways"),
    "file": (compare, "#files"),
}


async def click(pilot: Pilot[Any], x: int, y: int, times: int) -> None:
    """As a terminal sends it, all in one piece."""
    for _ in range(times):
        for kind in (events.MouseDown, events.MouseUp):
            event = kind(None, x, y, 0, 0, 1, False, False, False, x, y)
            pilot.app.post_message(event)


@pytest.mark.parametrize("name", ENTER)
async def test_enter_twice_leaves_what_is_below(name: str, tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(100, 40)) as pilot:
        dialog = ENTER[name](tmp_path)
        await app.open(dialog)
        await pilot.pause()
        if name == "compare":
            await until(pilot, lambda: dialog.query_one("#files").display)
            await pilot.press("down")
        for _ in range(3):
            app.post_message(events.Key("enter", "\r"))
        await until(pilot, lambda: dialog not in app.screen_stack and app.keys_done)
        await pilot.pause()
        assert app.below in app.screen_stack
        assert not app.below.pressed
        assert len(app.answers) == (name != "compare")


@pytest.mark.parametrize("name", CLICKS)
async def test_a_double_click_leaves_what_is_below(name: str, tmp_path: Path) -> None:
    app = Host()
    make, selector = CLICKS[name]
    async with app.run_test(size=(100, 40)) as pilot:
        dialog = make(tmp_path)
        await app.open(dialog)
        await pilot.pause()
        button = dialog.query_one(selector)
        await until(pilot, lambda: bool(button.region.area))
        x, y = button.region.offset + Offset(2, 0)
        await click(pilot, x, y, times=2)
        await until(pilot, lambda: dialog not in app.screen_stack)
        await click(pilot, x, y, times=1)
        await pilot.pause()
        assert app.below in app.screen_stack
        assert not app.below.pressed
        assert len(app.answers) == (name != "file")


async def test_a_later_press_or_another_one_goes_to_the_screen_below(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(100, 40)) as pilot:
        await app.open(confirm(tmp_path))
        await pilot.press("y", "x", "y")
        assert app.below.pressed == ["x", "y"]
        await app.push_screen(confirm(tmp_path))
        await pilot.press("enter")
        later = events.Key("enter", "\r")
        later.time += SECONDS
        app.post_message(later)
        await until(pilot, lambda: app.below.pressed[2:] == ["enter"])
        await app.push_screen(confirm(tmp_path))
        await pilot.press("escape", "escape")
        assert app.below.pressed[3:] == ["escape"], "each goes back one screen"
