"""Exact names that come while the screens change, and those that never come."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.handing import hand_names
from spectrum_tui.app.messages import LayersRequested
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core.requests import Failed, Inspected, Refined
from spectrum_tui.core.settings import Settings
from spectrum_tui.worker.client import WorkerDied, WorkerSaid
from tests.fake_worker import TYPES, summary
from tests.ui.layers_host import PREVIEW, SUMMARY, Host
from tests.ui.way import SIZE, at, read
from tests.ui.worker_control import DirectControl, until

NAMED = replace(summary("silent"), parameters=2000)
UNNAMED = replace(NAMED, parameters=3000, naming="", types=TYPES[:1])


@pytest.mark.parametrize("pushed", [False, True])
async def test_names_that_come_while_the_layers_open_arrive(app: SpectrumApp, pushed: bool) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "silent")
        await pilot.press("enter")
        if pushed:  # the screen is on the stack, and not yet mounted
            app.setup_screen.show_summary(UNNAMED)
            app.post_message(LayersRequested(UNNAMED, app.settings))
        else:  # the layers are asked for, and this is not yet heard
            app.post_message(WorkerSaid(Inspected(1, UNNAMED)))
        app.post_message(WorkerSaid(Refined(1, NAMED)))
        await until(pilot, lambda: at(app, LayersScreen))
        screen = app.screen
        assert isinstance(screen, LayersScreen)
        assert "about" not in screen.query_one(StepBar).detail
        assert screen.summary == screen.panel.summary == NAMED
        assert screen.tree_view.model.types == TYPES
        await pilot.press("s")
        await until(pilot, lambda: at(app, ScanScreen))


async def test_a_screen_that_has_no_widgets_yet_takes_the_names_once_it_has() -> None:
    app = Host(PREVIEW)
    async with app.run_test(size=SIZE) as pilot:
        await app.layers.dismiss()
        screen = LayersScreen(PREVIEW, Settings())
        app.push_screen(screen)
        assert not screen.is_mounted
        hand_names(app.screen_stack, SUMMARY)
        await until(pilot, lambda: screen.is_mounted)
        assert "about" not in screen.query_one(StepBar).detail
        await pilot.press("s")
        await until(pilot, lambda: app.requests)


@pytest.mark.parametrize(
    "lost",
    [
        WorkerDied("was killed (SIGKILL)", "", frozenset()),
        WorkerSaid(Failed(1, {"message": "No names.", "hint": "", "field": ""}), "inspect"),
    ],
)
async def test_names_that_could_not_be_had_are_asked_for_again(
    app: SpectrumApp, control: DirectControl, lost: WorkerDied | WorkerSaid
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "silent")
        await pilot.press("enter")
        app.post_message(WorkerSaid(Inspected(1, UNNAMED)))
        await until(pilot, lambda: at(app, LayersScreen))
        screen = app.screen
        assert isinstance(screen, LayersScreen)
        await pilot.press("s")
        assert screen.panel.figures.waits
        app.post_message(lost)
        await until(pilot, lambda: app._notifications)
        assert not screen.panel.figures.waits
        await pilot.press("s")
        await until(pilot, lambda: at(app, ScanScreen))
        assert len(control.requests("recount")) == 1
