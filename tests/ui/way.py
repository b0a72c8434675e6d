"""The way through the screens, as far as a test needs to go."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.scan import ScanScreen
from tests.ui.worker_control import DirectControl, until

SIZE = (80, 24)


def phase(app: SpectrumApp) -> str:
    return app.runner.progress.snapshot().phase


def at(app: SpectrumApp, kind: type) -> bool:
    return isinstance(app.screen, kind) and app.screen.is_mounted


async def read(pilot: Pilot[Any], app: SpectrumApp, model: str) -> None:
    """Enter a model at once: each typed character takes 30 ms."""
    app.setup_screen.query_one("#model", Input).value = model
    await pilot.pause()
    await pilot.press("enter")


async def to_layers(pilot: Pilot[Any], app: SpectrumApp, model: str = "good") -> None:
    await read(pilot, app, model)
    await until(pilot, lambda: app.setup_screen.summary)
    await pilot.press("enter")
    await until(pilot, lambda: at(app, LayersScreen))


async def to_scan(pilot: Pilot[Any], app: SpectrumApp) -> None:
    await to_layers(pilot, app)
    await pilot.press("s")
    await until(pilot, lambda: at(app, ScanScreen) and phase(app) == "running")


async def stop(pilot: Pilot[Any], app: SpectrumApp, control: DirectControl) -> None:
    """Score one layer, then stop."""
    control.tell("layer 0")
    await until(pilot, lambda: app.runner.progress.snapshot().done == 1)
    await pilot.press("s")
    await until(pilot, lambda: phase(app) == "stopped")
    await until(pilot, lambda: app.screen.has_class("-over"))
