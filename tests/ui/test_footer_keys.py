"""Every key that a footer shows does something, on every screen in every state."""

from __future__ import annotations

from inspect import isclass
from typing import Any

import pytest
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets._footer import FooterKey

from spectrum_tui.app import messages
from spectrum_tui.app.screens.add_model import AddModelScreen
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.screens.queue import QueueScreen
from tests.snapshots import made_results, models, proof_scenes, scenes, shown
from tests.snapshots.shown import Prepare, still
from tests.ui.worker_control import until

REQUESTS = [
    one
    for one in vars(messages).values()
    if isclass(one) and issubclass(one, Message) and one is not Message
]


class Recorder(shown.Shown):
    """Keeps what is asked for, and stays when it is told to leave."""

    def __init__(self) -> None:
        super().__init__(Screen())  # so that there is one to go back to
        self.asked: list[Message | str] = []

    async def show(self, name: str, pilot: Pilot[Any]) -> None:
        """This screen in this state, just made, in place of whatever is shown."""
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        screen, prepare = scene(name)
        await self.push_screen(screen)
        await prepare(pilot)
        await until(pilot, lambda: screen.query(FooterKey))

    def exit(self, *_: object, **__: object) -> None:
        self.asked.append("exit")

    def state(self) -> tuple[object, ...]:
        """What a key could change."""
        return (len(self.asked), self.clipboard, *self.seen())

    def seen(self) -> tuple[object, ...]:
        """What a key could change on the screen: every cell with its colours, and the focus."""
        return (*self.screen_stack, self.focused, *self.screen._compositor.render_strips())

    async def close_what_opened(self) -> None:
        """Leave the shown screen on top."""
        while len(self.screen_stack) > 2:
            await self.pop_screen()


def _record(app: Recorder, message: Message) -> None:
    app.asked.append(message)


for request in REQUESTS:
    setattr(Recorder, request.handler_name, _record)


def scene(name: str) -> tuple[Screen[Any], Prepare]:
    """A screen in a state, and what brings it there."""
    match name.split("-"):
        case ["setup", state]:
            return scenes.setup(state)
        case ["layers", state]:
            keys = ("slash", *"pr", "enter", "space") if state == "filtered" else ()
            return scenes.layers(models.llama() if keys else models.mixture()), still(*keys)
        case ["scan", state]:
            screen = scenes.scan_screen(state)
            return screen, still(before=screen.poll)
        case ["film", _]:
            return scenes.film(), still("right")
        case ["comparison", view]:
            return scenes.comparison(), still(*(("m",) if view == "map" else ()))
        case ["queue", state]:
            adding = AddModelScreen(scenes.SUGGESTIONS, lambda summary: "")
            return adding if state == "adding" else QueueScreen(scenes.queue_of_six()), still()
        case ["proof", state]:
            return proof_scenes.proof_screen(state), still()
        case ["library", _]:
            return scenes.library("space", "down")
        case [_, view]:
            return scenes.results(made_results.with_sizes()), still("t" if view == "table" else "m")
        case _:
            raise AssertionError(name)


def footer(app: Recorder) -> dict[str, str]:
    return {key.key: key.description for key in app.screen.query(FooterKey)}


async def test_a_narrow_footer_leaves_out_whole_keys_but_not_help() -> None:
    app = Recorder()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.show("results-heatmap", pilot)
        wide = list(footer(app))
        for width in (60, 70, 80):
            await pilot.resize_terminal(width, 20)
            await pilot.pause()
            kept = list(footer(app))
            assert kept == [*wide[: len(kept) - 1], "f1"]
            assert all(key.region.right <= width + 1 for key in app.screen.query(FooterKey))
        assert kept == wide


async def _does_something(app: Recorder, pilot: Pilot[Any], key: str) -> bool:
    """Whether `key` changes anything."""
    before = app.state()
    await pilot.press(key)
    await pilot.pause()
    return app.state() != before


@pytest.mark.parametrize(
    "name",
    [
        "setup-found",
        "setup-on_the_hub",
        "setup-too_large",
        "setup-downloading",
        "layers-default",
        "layers-filtered",
        "scan-failures",
        "scan-stopping",
        "scan-stopped",
        "results-table",
        "results-heatmap",
        "library-marked",
        "film-stepped",
        "comparison-moves",
        "comparison-map",
        "queue-list",
        "queue-adding",
        "proof-running",
        "proof-stopped",
        "proof-finished",
    ],
)
async def test_every_key_in_the_footer_does_something(name: str) -> None:
    app = Recorder()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.show(name, pilot)
        shown = footer(app)
        dialog = isinstance(app.screen, Dialog)
        assert (1 if dialog else 3) <= len(shown) <= 7
        assert dialog or "f1" in shown
        still_there, fresh = app.state(), app.seen()
        await pilot.pause()
        assert app.state() == still_there, "nothing moves by itself"
        idle = []
        for key, text in shown.items():
            if app.seen() != fresh:
                await app.show(name, pilot)
                fresh = app.seen()
            if not await _does_something(app, pilot, key):
                idle.append(text)
            await app.close_what_opened()
            await pilot.pause()
        assert idle == []
