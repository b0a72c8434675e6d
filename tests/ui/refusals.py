"""What the command line and the app say when they refuse, and the way to where they do."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.field import Field
from tests.commands import Capture, refused
from tests.ui.worker_control import until

SIZE = (80, 24)


def said_by_command_line(capsys: Capture, *arguments: str) -> str:
    return refused(capsys, "scan", *arguments).removeprefix("spectrum-tui: ")


def beside(app: SpectrumApp, field: str) -> str:
    """What the app says beside a field, and it must be marked as an error there."""
    found = app.setup_screen.query_one(f"#field-{field}", Field)
    assert found.has_class("-error")
    return found.help_text.removeprefix("✗ ")


def failing(app: SpectrumApp) -> list[str]:
    return [str(field.id) for field in app.setup_screen.query(Field) if field.error]


async def to_layers(pilot: Pilot[Any], app: SpectrumApp) -> None:
    """From the first screen, the model being given, to the layers."""
    await until(pilot, lambda: app.setup_screen.summary)
    await pilot.press("ctrl+n")
    await until(pilot, lambda: isinstance(app.screen, LayersScreen))


async def to_results(pilot: Pilot[Any], app: SpectrumApp) -> ResultsScreen:
    await to_layers(pilot, app)
    await pilot.press("s")
    await until(pilot, lambda: isinstance(app.screen, ResultsScreen) and app.screen.is_mounted)
    assert isinstance(app.screen, ResultsScreen)
    return app.screen
