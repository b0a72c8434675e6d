"""A key that was meant for what was shown before does nothing when the app has changed it by
itself: no result is sorted, left or scanned anew by who wanted to stop a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app import unasked
from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.unasked import by_itself
from tests.fake_worker import REMOTE
from tests.ui.pressed import Pressed
from tests.ui.way import SIZE, at, phase, read, to_layers, to_scan
from tests.ui.worker_control import DirectControl, until

LONG = 60.0


class Before(Screen[None]):
    """Has a key of its own."""

    BINDINGS = [("s", "stop", "Stop"), ("escape", "stop", "Stop")]  # noqa: RUF012

    def action_stop(self) -> None: ...


class Host(BaseApp):
    """Shows another screen by itself, or because it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = Before(), Pressed()

    def get_default_screen(self) -> Screen[Any]:
        return self.before

    async def change(self) -> None:
        by_itself(self.before)
        await self.push_screen(self.after)


async def click(pilot: Pilot[Any]) -> None:
    for kind in (events.MouseDown, events.MouseUp):
        pilot.app.post_message(kind(None, 9, 9, 0, 0, 1, False, False, False, 9, 9))
    await pilot.pause()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unasked, "SECONDS", LONG)
    monkeypatch.setattr(unasked, "DRAWN_SECONDS", LONG)


async def test_what_meant_something_before_is_dropped_and_all_else_is_not(long: None) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.change()
        await pilot.press("s", "escape", "x", "down", "7")
        await click(pilot)
        assert app.after.pressed == ["x", "down", "7"]
        assert not app.unasked.is_over
        later = events.Key("s", "s")
        later.time += 2 * LONG
        app.post_message(later)
        await pilot.pause()
        assert app.after.pressed[3:] == ["s"]


async def test_keys_are_taken_once_what_is_new_was_on_show_for_a_moment() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.change()
        await until(pilot, lambda: app.unasked.is_over)
        await pilot.press("s", "escape")
        await click(pilot)
        assert app.after.pressed == ["s", "escape", "down", "up"]


async def test_a_key_of_the_first_of_two_changes_is_dropped_after_the_second(long: None) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.change()
        by_itself(app.after)
        await pilot.press("s", "x")
        assert app.after.pressed == ["x"]


async def test_a_change_below_another_screen_takes_no_key_from_it(long: None) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.push_screen(app.after)
        by_itself(app.before)
        await pilot.press("s", "escape")
        assert app.after.pressed == ["s", "escape"]


async def test_a_screen_that_was_asked_for_takes_every_key(long: None) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.push_screen(app.after)
        await pilot.press("s", "escape")
        assert app.after.pressed == ["s", "escape"]


async def test_text_does_not_go_into_a_field_that_has_just_got_the_keys(long: None) -> None:
    app = Host()
    field = Input()
    async with app.run_test() as pilot:
        await app.before.mount(field)
        app.before.set_focus(None)
        by_itself(app.before)
        field.focus()
        await pilot.press("a", "b")
        app.post_message(events.Paste("pasted"))
        await pilot.pause()
        assert field.value == ""


async def end_of_a_scan(pilot: Pilot[Any], app: SpectrumApp, control: DirectControl) -> None:
    await to_scan(pilot, app)
    control.tell(*(f"layer {i}" for i in range(6)), "finish")
    while not at(app, ResultsScreen):
        await pilot.pause(0.01)


async def test_a_stop_that_comes_late_leaves_the_results_as_they_are(
    app: SpectrumApp, control: DirectControl, long: None
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await end_of_a_scan(pilot, app, control)
        results = app.screen
        assert isinstance(results, ResultsScreen)
        view, choice = results.views.current, results.state.choice.policy
        await pilot.press("s", "escape", "t", "a")
        assert at(app, ResultsScreen) and results.views.current == view
        await pilot.press("3", "7")
        assert results.state.choice.policy.percent == 37 != choice.percent


async def test_results_wait_for_who_types_into_the_palette(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("ctrl+p", "w")
        assert isinstance(app.screen, CommandPalette)
        control.tell(*(f"layer {i}" for i in range(6)), "finish")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "finished")
        await pilot.press("e", "s")
        assert isinstance(app.screen, CommandPalette)
        assert app.screen.query_one(Input).value == "wes"
        await pilot.press("escape")
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_a_scan_that_ends_by_itself_is_not_left_by_who_would_stop_it(
    app: SpectrumApp, control: DirectControl, long: None
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell("layer 0", "refuse It cannot be.")
        while phase(app) != "failed" or not app.screen.has_class("-over"):
            await pilot.pause(0.01)
        await pilot.press("escape")
        assert at(app, ScanScreen)
        await pilot.press("g")
        await pilot.pause()
        assert len(control.requests("scan")) == 2, "what it did not mean before, it may mean now"


async def test_letters_for_a_scan_that_is_refused_are_not_typed(
    app: SpectrumApp, control: DirectControl, long: None
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_layers(pilot, app, REMOTE)
        await pilot.press("s")
        await until(pilot, lambda: at(app, ScanScreen) and control.requests("scan"))
        control.tell("refuse It cannot be.")
        while not at(app, SetupScreen):
            await pilot.pause(0.01)
        await pilot.press("s", "m", "t")
        assert app.setup_screen.query_one("#model", Input).value == REMOTE


async def test_who_types_in_another_field_stays_there_when_the_reading_fails(
    app: SpectrumApp, control: DirectControl, tmp_path: Path
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "silent")
        field = app.setup_screen.query_one("#output_dir", Input)
        field.focus()
        await pilot.press("end", "a")
        app.setup_screen.show_error("model", "There is no silent.")
        await pilot.press("b")
        assert field.has_focus and field.value.endswith("ab")
