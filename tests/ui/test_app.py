"""The way through all screens, with a worker that does what the test says."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, Select
from textual.widgets._footer import FooterKey
from textual.widgets._toast import Toast

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.base import CONFIRMED_SECONDS
from spectrum_tui.app.handing import hand_no_sizes
from spectrum_tui.app.loading import ResultLoaded, post_result
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.help import BUILT_IN, HelpScreen, keys_of, purpose_of
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.model_sizes import ModelSizesScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.ui.way import SIZE, at, phase, read, stop, to_layers
from tests.ui.worker_control import DirectControl, until

SCORES = '{"model.layers.0.mlp.down_proj": {"snr": 0.5, "type": "mlp.down_proj"}}'


async def test_suggestions_and_devices_arrive(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        choices = app.setup_screen.query_one(ModelChoices)
        await until(pilot, lambda: choices.option_count == 3 and app._machine)
        device: Select[str] = app.setup_screen.query_one("#device", Select)
        await pilot.pause()
        device.value = "fake:0"  # refused where it is not among the options
        await pilot.pause()
        assert device.value == "fake:0"


async def test_saved_scores_open_at_once(control: DirectControl, tmp_path: Path) -> None:
    path = tmp_path / "snr_results_x.json"
    path.write_text(SCORES, encoding="utf-8")
    app = SpectrumApp(Settings(model=str(path)), results=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen))
        await pilot.press("escape")
        assert at(app, SetupScreen)
        assert control.requests("inspect") == []


async def test_keys_from_before_the_file_is_open_do_nothing(
    control: DirectControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snr_results_x.json"
    path.write_text(SCORES, encoding="utf-8")
    read = threading.Event()

    def slowly(*args: Any) -> None:
        read.wait(15)
        post_result(*args)

    monkeypatch.setattr("spectrum_tui.app.opening.post_result", slowly)
    app = SpectrumApp(Settings(), results=path)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"w/x", "enter", "ctrl+n")
        assert app.setup_screen.query_one("#model", Input).value == ""
        read.set()
        await until(pilot, lambda: at(app, ResultsScreen) and app.key_order.listening)
        assert control.requests("inspect") == []
        await pilot.press("escape")
        assert at(app, SetupScreen)


@pytest.mark.parametrize("text", ["", "not json", "[]"])
async def test_scores_that_cannot_be_read(
    control: DirectControl, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    app = SpectrumApp(Settings(), results=path)
    async with app.run_test(size=SIZE) as pilot:
        field = app.setup_screen.query_one("#field-model", Field)
        await until(pilot, lambda: field.error)
        assert "broken.json" in field.error and at(app, SetupScreen)


async def test_demo_is_read_at_once_and_labelled(control: DirectControl) -> None:
    app = SpectrumApp(Settings(), demo=True)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.setup_screen.summary)
        assert app.screen.query_one(StepBar).detail == "demo model"
        await pilot.press("enter")
        await until(pilot, lambda: at(app, LayersScreen))
        await pilot.press("s")
        await until(pilot, lambda: at(app, ScanScreen))
        assert app.screen.query_one(StepBar).detail == "demo model"


async def test_errors_appear_beside_their_field(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        for model, field, message in (
            ("nowhere", "model", "There is no model nowhere."),
            ("no-such-revision", "revision", "There is no revision v9."),
        ):
            await read(pilot, app, model)
            widget = app.setup_screen.query_one(f"#field-{field}", Field)
            await until(pilot, partial(getattr, widget, "error"))
            assert widget.error == message


async def test_results_wait_until_the_help_is_read(app: SpectrumApp, tmp_path: Path) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f1")
        app.post_message(ResultLoaded(tmp_path, made.result(), {}))
        await pilot.pause()
        assert at(app, HelpScreen)
        await pilot.press("escape")
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_q_is_a_letter_in_a_field(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("q", "question_mark")
        assert app.setup_screen.query_one("#model", Input).value == "q?"


async def screens(pilot: Pilot[Any], app: SpectrumApp, control: DirectControl) -> Any:
    """Each screen of the way in turn."""
    yield app.screen
    await to_layers(pilot, app)
    yield app.screen
    await pilot.press("s")
    await until(pilot, lambda: at(app, ScanScreen) and phase(app) == "running")
    yield app.screen
    await stop(pilot, app, control)
    yield app.screen
    await pilot.press("r")
    await until(pilot, lambda: at(app, ResultsScreen))
    yield app.screen


async def test_keys_of_every_screen_are_few_and_told_by_help(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        async for screen in screens(pilot, app, control):
            shown = [
                one.binding
                for one in screen.active_bindings.values()
                if one.binding.show and one.enabled and not one.binding.system
            ]
            await until(pilot, partial(screen.query, FooterKey))
            assert len(screen.query(FooterKey)) <= 7, screen
            assert all(binding.description and binding.tooltip for binding in shown), screen
            assert purpose_of(screen)
            told = {entry.description for entry in keys_of(app, screen)}
            assert not [
                one.keys for one in keys_of(app, screen) if " " in one.keys.replace(", ", "")
            ]
            for node, binding, _, _ in screen.active_bindings.values():
                ours = type(node).__module__.startswith("spectrum_tui")
                if ours and binding.tooltip and binding.action not in BUILT_IN:
                    assert binding.description in told, (type(node), binding.key)
            await pilot.press("f1")
            assert at(app, HelpScreen)
            await pilot.press("f1")
            assert app.screen is screen


async def test_the_palette_offers_the_screens_keys_and_the_theme(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_layers(pilot, app)
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert titles[0] == "Scan the checked types"
        said = {command.title: command.help for command in app.get_system_commands(app.screen)}
        assert said["Show every key"] == "F1 · Keys and purpose"
        assert said["Go back"].startswith("esc · ")
        assert {"Go back", "Use the light theme"} <= {*titles}
        assert titles[-2:] == ["Show every key", "Quit the program"]
        await pilot.press("ctrl+p")
        assert at(app, CommandPalette)
        await pilot.press(*"light")
        await pilot.pause(0.2)
        await pilot.press("enter")
        await until(pilot, lambda: app.theme == "spectrum-light")
        assert "Use the dark theme" in {c.title for c in app.get_system_commands(app.screen)}


async def test_a_tiny_terminal_asks_for_room_and_recovers(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        for width, height in ((59, 24), (80, 17), (20, 5)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            assert not app.screen.query_one("#form").display
            assert "enlarge the terminal" in str(app.screen.query_one(StepBar).render())
        await pilot.resize_terminal(60, 18)
        await pilot.pause()
        assert app.screen.query_one("#form").display
        assert "1 Model" in str(app.screen.query_one(StepBar).render())


def test_the_app_imports_nothing_heavy() -> None:
    code = (
        "import sys, spectrum_tui.app.app, spectrum_tui.app.run;"
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'transformers', 'safetensors'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("above", [(), ("f",), ("w",), ("o",), ("d",), ("question_mark",)])
async def test_a_selection_shaped_by_hand_is_not_left_without_a_question(
    control: DirectControl, tmp_path: Path, above: tuple[str, ...]
) -> None:
    path = save_scores(made.with_parameters(made.result(layers=4)), tmp_path).scores
    app = SpectrumApp(Settings(), results=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen) and app.key_order.listening)
        await pilot.press("space", *above)
        below = app.screen
        await pilot.press("ctrl+q")
        assert at(app, ConfirmScreen)
        await pilot.press("ctrl+q", "enter")
        assert app.screen is below
        await pilot.press("ctrl+q", "y")
    assert app.return_code == 0


async def test_a_percentage_alone_is_left_at_once(control: DirectControl, tmp_path: Path) -> None:
    path = save_scores(made.with_parameters(made.result(layers=4)), tmp_path).scores
    app = SpectrumApp(Settings(), results=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen) and app.key_order.listening)
        await pilot.press("4", "0", "space", "u", "ctrl+q")
        await pilot.pause()
        assert not at(app, ConfirmScreen)


async def test_sizes_that_are_being_read_are_said_and_waited_for(
    control: DirectControl, tmp_path: Path
) -> None:
    path = tmp_path / "snr_results_x.json"
    path.write_text(SCORES, encoding="utf-8")
    app = SpectrumApp(Settings(sizes_from="silent", top_percent=100), results=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen) and app.key_order.listening)
        screen = next(one for one in app.screen_stack if isinstance(one, ResultsScreen))
        assert "reading the sizes of silent …" in screen.header.totals.left
        await pilot.press("f")
        assert screen.header.policy_line.right.startswith("memory opens with the sizes")
        await pilot.press("escape")
        assert app.screen is screen
        assert screen.header.policy_line.right.startswith("space pins"), "taken back"
        await pilot.press("f")
        hand_no_sizes(app.screen_stack)  # there are none: then it is asked for
        await pilot.pause()
        assert at(app, ModelSizesScreen)
        assert "sizes unknown" in screen.header.totals.left


async def test_a_note_is_shown_once_and_a_confirmation_not_for_long(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        app.notify("Saved.", title="a")
        app.notify("Saved.", title="a")
        app.screen.notify("Mind.", severity="warning")
        app.notify("one\ntwo")
        await until(pilot, lambda: len(app._notifications) == 3)
        longer = app.NOTIFICATION_TIMEOUT
        assert [(one.message, one.timeout) for one in app._notifications] == [
            ("Saved.", CONFIRMED_SECONDS),
            ("Mind.", longer),
            ("one\ntwo", longer),
        ]
        app.notify("Mind.", severity="warning")
        await until(pilot, lambda: len(app.screen.query(Toast)) == 3)
