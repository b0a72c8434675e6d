"""Every key that a footer shows does something, on every screen in every state."""

from __future__ import annotations

from inspect import isclass
from typing import Any

import pytest
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets._footer import FooterKey

from spectrum_tui import messages
from tests.snapshots import scenes
from tests.snapshots.scenes import Prepare, still
from tests.ui.worker_control import until

REQUESTS = [
    one
    for one in vars(messages).values()
    if isclass(one) and issubclass(one, Message) and one is not Message
]


class Recorder(scenes.Shown):
    """Keeps what is asked for, and stays when it is told to leave."""

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__(screen)
        self.asked: list[Message | str] = []

    def get_default_screen(self) -> Screen[Any]:
        return Screen()  # so that there is one to go back to

    async def on_mount(self) -> None:
        await self.push_screen(self.shown)

    def exit(self, *_: object, **__: object) -> None:
        self.asked.append("exit")

    def state(self) -> tuple[object, ...]:
        """What a key could change."""
        asked = (len(self.asked), self.clipboard)
        return (*asked, *self.screen_stack, self.focused, self.export_screenshot())


def _record(app: Recorder, message: Message) -> None:
    app.asked.append(message)


for request in REQUESTS:
    setattr(Recorder, request.handler_name, _record)


def scene(name: str) -> tuple[Screen[Any], Prepare]:
    """A screen in a state, and what brings it there."""
    match name.split("-"):
        case ["setup", state]:
            return scenes.setup(state)
        case ["layers", "filtered"]:
            return scenes.layers(scenes.llama()), still("slash", *"proj", "enter", "space")
        case ["layers", _]:
            return scenes.layers(scenes.mixture()), still()
        case ["scan", state]:
            screen = scenes.scan_screen(state)
            return screen, still(before=screen.poll)
        case ["results", "heatmap"]:
            return scenes.results(scenes.with_head()), still("tab", "m")
        case _:
            return scenes.results(scenes.with_head()), still()


def footer(app: Recorder) -> dict[str, str]:
    return {key.key: key.description for key in app.screen.query(FooterKey)}


async def _press(key: str, screen: Screen[Any], prepare: Prepare) -> bool:
    """Whether `key` does anything in a screen just made."""
    app = Recorder(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await _settle(pilot, prepare)
        before = app.state()
        await pilot.press(key)
        await pilot.pause()
        return app.state() != before


async def _settle(pilot: Pilot[Any], prepare: Prepare) -> None:
    await prepare(pilot)
    await until(pilot, lambda: pilot.app.screen.query(FooterKey))


@pytest.mark.parametrize(
    "name",
    [
        "setup-found",
        "setup-on_the_hub",
        "setup-downloading",
        "layers-default",
        "layers-filtered",
        "scan-failures",
        "scan-stopping",
        "scan-stopped",
        "results-table",
        "results-heatmap",
    ],
)
async def test_every_key_in_the_footer_does_something(name: str) -> None:
    screen, prepare = scene(name)
    app = Recorder(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await _settle(pilot, prepare)
        shown = footer(app)
        assert 3 <= len(shown) <= 7
        assert "f1" in shown
        still_there = app.state()
        await pilot.pause()
        assert app.state() == still_there, "nothing moves by itself"
    idle = [text for key, text in shown.items() if not await _press(key, *scene(name))]
    assert idle == []
