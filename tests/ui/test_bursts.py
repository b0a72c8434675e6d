"""Keys in one burst (a macro, a fast typist, a line that delivers late) end where single presses
end: on every screen, in every list, slider and dialog."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual import events
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input
from textual.worker import WorkerCancelled

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens import singular_values
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets import yaml_preview
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots import models, scenes

SIZE = (80, 24)
CHARACTERS = {"space": " ", "slash": "/", "full_stop": "."}


class Host(BaseApp):
    """One screen, and everything that it asks for."""

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self.animation_level = "none"
        self.asked: list[str] = []
        self._first = screen

    def get_default_screen(self) -> Screen[Any]:
        return Screen() if isinstance(self._first, ConfirmScreen) else self._first

    def on_mount(self) -> None:
        if isinstance(self._first, ConfirmScreen):
            self.push_screen(self._first, lambda answer: self.asked.append(f"{answer}"))

    def post_message(self, message: Message) -> bool:
        if type(message).__module__ == "spectrum_tui.app.messages":
            self.asked.append(repr(message))
        return super().post_message(message)


def setup() -> Screen[Any]:
    return SetupScreen(Settings())


def layers() -> Screen[Any]:
    return scenes.layers(models.mixture())


def results() -> Screen[Any]:
    result = made.with_parameters(made.with_metrics(made.result(layers=12)))
    parts = tuple((f"expert {expert}", 0.1 * expert) for expert in range(64))
    result = replace(result, scores=made.ranked(result.scores, parts={0: parts}))
    return ResultsScreen(ResultState(result, Settings(top_percent=25)))


def confirm() -> Screen[Any]:
    return ConfirmScreen("Leave while scanning?", "What is done is kept.", "Leave", "Stay")


def audit() -> Screen[Any]:
    return scenes.audit_screen("text")[0]


Case = tuple[Callable[[], Screen[Any]], tuple[str, ...]]
"""A screen, and the bursts that it gets one after another."""
CASES: dict[str, Case] = {
    "model typed": (setup, ("d e m o enter",)),
    "fields": (
        setup,
        ("tab tab 3 tab tab 7 tab x", "shift+tab shift+tab enter down enter tab 4"),
    ),
    "tree": (
        layers,
        (
            "down space down left down down right down space",
            "slash g a t e enter down space s",
            "slash u p escape down space",
        ),
    ),
    "save": (results, ("w down enter right right", "w tab tab space tab enter")),
    "slider": (
        results,
        (
            "3 7 plus plus shift+right underscore",
            "x down o G k escape plus",
            "f1 down down escape plus",
            "v v e plus s",
        ),
    ),
    "filter": (results, ("slash q u p enter down S d n n",)),
    "heat map": (results, ("j l down space greater_than_sign r t j y j j",)),
    "memory": (
        results,
        ("f down down 8 0 enter right", "f shift+tab shift+tab enter down enter tab space"),
    ),
    "tiers": (results, ("a right r down right n w enter",)),
    "compare": (results, ("o down down enter right tab j j",)),
    "palette": (results, ("ctrl+p m e m o r y enter",)),
    "confirm": (confirm, ("tab enter",)),
    "audit": (audit, ("m a slash b enter j j", "w backspace enter j")),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(3.0, 0.1, 64)
    kept = [(f"expert {i}", KeptSpectrum(values * (i + 1), 64, 64)) for i in range(8)]
    monkeypatch.setattr(yaml_preview, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(singular_values, "spectra_of", lambda result, row: kept)


async def idle(pilot: Pilot[Any]) -> None:
    """Every key has taken effect, and all work that it began is done."""
    app = pilot.app
    assert isinstance(app, BaseApp)
    for _ in range(2):
        while not app.keys_done or app.message_queue_size:
            await asyncio.sleep(0.001)
        with contextlib.suppress(WorkerCancelled):  # a later one takes its place
            await app.workers.wait_for_complete()


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Keys that are there before the first of them is looked at."""
    for key in keys:
        text = CHARACTERS.get(key, key if len(key) == 1 else None)
        pilot.app.post_message(events.Key(key, text))
    await idle(pilot)


async def singly(pilot: Pilot[Any], keys: list[str]) -> None:
    for key in keys:
        await press(pilot, key)


async def at_once(pilot: Pilot[Any], keys: list[str]) -> None:
    await press(pilot, *keys)


Press = Callable[[Pilot[Any], list[str]], Any]


async def ends(case: Case, folder: Path, send: Press) -> list[dict[str, object]]:
    """Where each burst leads: what is shown, what has the keys, what was asked for and written."""
    screen, bursts = case
    app = Host(screen())
    found: list[dict[str, object]] = []
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        for keys in bursts:
            await send(pilot, keys.split())
            for field in app.screen.query(Input):
                field.cursor_blink = False
            shown, focused = await drawn(pilot), app.focused
            found.append(
                {
                    "shown": shown,
                    "screens": [type(one).__name__ for one in app.screen_stack],
                    "focus": None if focused is None else (type(focused).__name__, focused.id),
                    "asked": list(app.asked),
                    "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
                }
            )
    return found


async def drawn(pilot: Pilot[Any]) -> list[str]:
    """The lines on the screen, once the footer and the scrollbars have followed."""
    lines: list[str] = []
    for _ in range(100):
        before = lines
        await pilot.pause(0.05)
        strips = pilot.app.screen._compositor.render_strips()
        lines = [strip.text.rstrip() for strip in strips]
        has_keys = all(footer.children for footer in pilot.app.screen.query(KeyFooter))
        if has_keys and lines == before:
            break
    return lines


@pytest.mark.parametrize("name", CASES)
async def test_a_burst_ends_where_single_presses_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for send in (singly, at_once):
        folder = tmp_path / "work"  # of the same name, as paths are shown
        folder.mkdir()
        monkeypatch.chdir(folder)
        for other in ("other", "third"):
            result = made.with_metrics(made.result(layers=12, model=f"made/{other}"))
            save_scores(result, folder)
        (folder / "other.json").write_bytes(
            (folder / "snr_results_made-other_sorted.json").read_bytes()
        )
        found.append(await ends(CASES[name], folder, send))
        folder.rename(tmp_path / send.__name__)
    for one_by_one, burst in zip(*found, strict=True):
        for what, expected in one_by_one.items():
            assert burst[what] == expected
