"""An app that shows the setup screen alone, for tests of it."""

from __future__ import annotations

from typing import Any

from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app import messages as ask
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.core.requests import DownloadProgress
from spectrum_tui.core.settings import Settings

SIZE = (80, 24)


class Host(BaseApp):
    """Shows the screen and keeps what it posts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.asked: list[Message] = []
        self.download: DownloadProgress | None = None
        self.setup = SetupScreen(settings, lambda: self.download)

    def get_default_screen(self) -> Screen[Any]:
        return self.setup

    def on_inspect_requested(self, message: ask.InspectRequested) -> None:
        self.asked.append(message)

    def on_download_requested(self, message: ask.DownloadRequested) -> None:
        self.asked.append(message)

    def on_download_cancelled(self, message: ask.DownloadCancelled) -> None:
        self.asked.append(message)

    def on_open_requested(self, message: ask.OpenRequested) -> None:
        self.asked.append(message)

    def on_layers_requested(self, message: ask.LayersRequested) -> None:
        self.asked.append(message)

    def field(self, name: str) -> Field:
        return self.setup.query_one(f"#field-{name}", Field)

    def value(self, name: str) -> Input:
        return self.setup.query_one(f"#{name}", Input)

    @property
    def found(self) -> FoundPanel:
        return self.setup.query_one(FoundPanel)

    def facts(self) -> dict[str, str]:
        return dict(self.found.facts)


def host(**settings: Any) -> Host:
    return Host(Settings(**settings))


async def type_in(pilot: Pilot[Any], app: Host, name: str, text: str) -> None:
    app.value(name).focus()
    app.value(name).value = text
    await pilot.pause()
