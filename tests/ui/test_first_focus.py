"""Which widget has the keys when a screen or dialog opens: the one it is for, from its first frame.

A focus that moves while a dialog opens puts the first digit into another field.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widget import Widget

from spectrum_tui.app.screens.compare_file import CompareFileScreen
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.memory import MemoryScreen
from spectrum_tui.app.screens.model_sizes import ModelSizesScreen
from spectrum_tui.app.screens.note import NoteScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.screens.tiers import TiersScreen
from spectrum_tui.app.screens.write_file import WriteScreen
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots import models, scenes
from tests.ui.results_host import Host, settled

LLAMA = made.with_parameters(made.result(layers=12))
STATE = ResultState(LLAMA, Settings(top_percent=25))
SCREENS: dict[str, tuple[Callable[[], Screen[Any]], str]] = {
    "memory": (lambda: MemoryScreen(STATE.memory, STATE.choice), "fit"),
    "sizes": (lambda: ModelSizesScreen(Path("s.json"), "org/name"), "model"),
    "save": (lambda: SaveScreen(STATE.choice, "scores"), "kinds"),
    "compare": (lambda: CompareFileScreen(LLAMA, STATE.choice.policy, "scores"), "path"),
    "question": (lambda: ConfirmScreen("Leave?", "", "Leave", "Stay"), "no"),
    "note": (lambda: NoteScreen("Note", "", 80), "Input"),
    "write": (lambda: WriteScreen(Path("a.yaml"), ""), "path"),
    "tiers": (lambda: TiersScreen(STATE.choice), "TierSlider"),
    "setup": (lambda: SetupScreen(Settings()), "model"),
    "layers": (lambda: scenes.layers(models.mixture()), "TreeLines"),
    "results": (lambda: scenes.results(LLAMA), "ShapingGrid"),
    "audit": (lambda: scenes.audit_screen("text")[0], "findings-panel"),
    "comparison": (scenes.comparison, "PercentSlider"),
}


@pytest.fixture
def focused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every widget that gets the keys, in order."""
    names: list[str] = []
    give = Screen.set_focus

    def record(screen: Screen[Any], widget: Widget | None, *args: Any, **options: Any) -> None:
        if widget is not None:
            names.append(widget.id if widget.id else type(widget).__name__)
        give(screen, widget, *args, **options)

    monkeypatch.setattr(Screen, "set_focus", record)
    return names


@pytest.mark.parametrize("name", SCREENS)
async def test_the_keys_are_where_they_belong_from_the_first_frame(
    name: str, focused: list[str]
) -> None:
    make, expected = SCREENS[name]
    app = Host(LLAMA)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        focused.clear()
        await app.push_screen(make())
        await settled(pilot)
        assert set(focused) == {expected}


@pytest.mark.parametrize("pause", [0.0, 0.15, 0.5])
async def test_the_size_of_a_card_is_typed_at_once(pause: float) -> None:
    app = Host(LLAMA)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("f")
        await asyncio.sleep(pause)
        await pilot.press("2", "4")
        assert isinstance(app.screen, MemoryScreen)
        assert app.screen.size_field.value == "24"
        assert app.results.state.memory.training.gpus == 1


class FirstFrame(Host):
    """Keeps what the footer has when the results are drawn for the first time."""

    keys: dict[str, str] | None = None

    def post_display_hook(self) -> None:
        if self.keys is None and isinstance(self.screen, ResultsScreen):
            self.keys = self.footer()


async def test_the_footer_has_its_keys_in_the_first_frame() -> None:
    app = FirstFrame(LLAMA)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert app.keys == app.footer()
        assert "w" in app.footer()
