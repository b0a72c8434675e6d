"""The way through all screens, with a worker that does what the test says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Button, Input, Select, Static
from textual.widgets._footer import FooterKey

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.loading import ResultLoaded, load_result
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.help import BUILT_IN, HelpScreen, keys_of, purpose_of
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.app.widgets.plan_panel import PlanPanel
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core.settings import Settings
from tests import made
from tests.ui.worker_control import Control, DirectControl, until

SIZE = (80, 24)
SCORES = '{"model.layers.0.mlp.down_proj": {"snr": 0.5, "type": "mlp.down_proj"}}'


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> DirectControl:
    return DirectControl(monkeypatch)


@pytest.fixture
def app(control: DirectControl, tmp_path: Path) -> SpectrumApp:
    return SpectrumApp(Settings(output_dir=str(tmp_path / "out")))


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


async def test_from_the_model_to_the_results(
    app: SpectrumApp, control: DirectControl, tmp_path: Path
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        assert at(app, SetupScreen)
        await to_scan(pilot, app)
        sent = control.requests("scan")[0].settings
        assert (sent.model, sent.types) == ("good", ("mlp.down_proj",))
        assert (sent.revision, sent.output_dir) == ("c0ffee" * 6, str(tmp_path / "out"))
        control.tell(*(f"layer {i}" for i in range(6)), "finish")
        await until(pilot, lambda: at(app, ResultsScreen))
        screen = app.screen
        assert isinstance(screen, ResultsScreen) and len(screen.state.result.scores) == 6
        assert [type(s) for s in app.screen_stack] == [SetupScreen, LayersScreen, ResultsScreen]
        await pilot.press("escape")
        assert at(app, LayersScreen)
        await pilot.press("escape")
        assert at(app, SetupScreen)


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
        load_result(*args)

    monkeypatch.setattr("spectrum_tui.app.app.load_result", slowly)
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


async def test_download_then_continue(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "org/remote")
        await until(pilot, lambda: app.setup_screen.summary)
        await pilot.press("d")
        await until(pilot, lambda: control.requests("download"))
        control.tell("progress 500 2000")
        found = app.setup_screen.query_one(FoundPanel)
        await until(pilot, lambda: "500 B of 2.00 kB" in found.status)
        control.tell("downloaded")
        summary = app.setup_screen
        await until(pilot, lambda: summary.summary is not None and summary.summary.is_local)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, LayersScreen))


async def test_a_scan_downloads_its_model_first(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "org/remote")
        await until(pilot, lambda: app.setup_screen.summary)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, LayersScreen))
        panel = app.screen.query_one(PlanPanel)
        assert str(panel.query_one("#start", Button).label) == "Download and scan"
        assert "downloads 2.00 kB first" in str(panel.query_one("#download-first", Static).visual)
        await pilot.press("s")
        await until(pilot, lambda: control.requests("scan"))
        request = control.requests("scan")[0]
        assert (request.settings.revision, request.branch) == ("c0ffee" * 6, "")
        control.tell("progress 500 2000")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "fetching")
        assert app.runner.progress.snapshot().share == 0.25
        control.tell("notice The hub asks to wait.")
        note = app.screen.query_one("#scan-note", Static)
        await until(pilot, lambda: "500 B of 2.00 kB" in str(note.visual))
        await until(pilot, lambda: "The hub asks to wait." in str(note.visual))
        control.tell("downloaded")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "running")
        assert app.setup_screen.summary is not None and app.setup_screen.summary.is_local
        for number in range(6):
            control.tell(f"layer {number}")
        control.tell("finish")
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_a_stopped_download_goes_on(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "org/remote")
        await until(pilot, lambda: app.setup_screen.summary)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, LayersScreen))
        await pilot.press("s")
        await until(pilot, lambda: control.requests("scan"))
        control.tell("progress 500 2000")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "fetching")
        await pilot.press("s")
        await until(pilot, lambda: app.runner.progress.snapshot().phase == "stopped")
        await until(pilot, lambda: app.screen.query_one("#go-on", Button).has_focus)
        assert not app.screen.query_one("#results", Button).display
        assert app.screen.check_action("results", ()) is False
        note = str(app.screen.query_one("#scan-note", Static).visual)
        assert "Complete files are kept; continuing fetches the rest." in note
        await pilot.press("g")
        await until(pilot, lambda: len(control.requests("scan")) == 2)


async def test_stop_look_and_go_on(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await stop(pilot, app, control)
        await pilot.press("r")
        await until(pilot, lambda: at(app, ResultsScreen))
        await pilot.press("escape")
        assert at(app, ScanScreen)
        await pilot.press("g")
        await until(pilot, lambda: len(control.requests("scan")) == 2)
        await until(pilot, lambda: phase(app) == "running")
        first, second = control.requests("scan")
        assert second.settings == first.settings
        control.tell("finish")
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_back_from_a_scan_its_scores_are_counted(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await stop(pilot, app, control)
        await pilot.press("escape")
        await until(pilot, lambda: at(app, LayersScreen) and app.screen.query("#scored"))
        note = app.screen.query_one("#scored", Static).render()
        assert "1 layer is already scored" in str(note)
        facts = dict(app.setup_screen.query_one(FoundPanel).facts)
        assert facts["Earlier scan"] == "1 of 12 layers is scored already"
        await pilot.press("f", "s")
        await until(pilot, lambda: len(control.requests("scan")) == 2)
        assert control.requests("scan")[1].settings.since > 0
        assert len(control.requests("recount")) == 1


async def test_nothing_is_kept_of_a_model_that_changed(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell("layer 0", "changed The model is another one.")
        await until(pilot, lambda: phase(app) == "failed")
        await until(pilot, lambda: app.screen.has_class("-over"))
        note = str(app.screen.query_one("#scan-note", Static).render())
        assert "from the start" in note
        assert "kept" not in note


async def test_a_scan_that_is_refused_says_why(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell("refuse The disk is full.")
        await until(pilot, lambda: phase(app) == "failed")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await pilot.press("escape")
        assert at(app, LayersScreen)


async def test_quit_while_scanning_asks_once(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("ctrl+q", "ctrl+q")
        assert [type(s) for s in app.screen_stack].count(ConfirmScreen) == 1
        await pilot.press("enter")  # the safe answer has the focus
        assert at(app, ScanScreen) and phase(app) == "running"
        for key in ("n", "escape"):
            await pilot.press("q")
            assert at(app, ConfirmScreen)
            await pilot.press(key)
            assert at(app, ScanScreen)
        await pilot.press("q", "y")
        await pilot.pause()
    assert app.return_code == 130


@pytest.mark.parametrize("note", ["", "The cache cannot be written"])
async def test_leaving_a_scan_promises_only_what_is_kept(
    note: str, control: DirectControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrum_tui.app.app.cache_note", lambda: note)
    app = SpectrumApp(Settings())
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("q")
        said = " ".join(str(line.render()) for line in app.screen.query(Static))
        assert ("will be lost" in said) is bool(note)
        assert ("is on disk" in said) is not bool(note)


async def test_the_end_of_the_scan_closes_the_question(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("q")
        control.tell("layer 0", "finish")
        await until(pilot, lambda: at(app, ResultsScreen))
        assert ConfirmScreen not in [type(s) for s in app.screen_stack]


async def test_results_wait_until_the_help_is_read(app: SpectrumApp, tmp_path: Path) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f1")
        app.post_message(ResultLoaded(tmp_path, made.result(), {}))
        await pilot.pause()
        assert at(app, HelpScreen)
        await pilot.press("escape")
        await until(pilot, lambda: at(app, ResultsScreen))


class TestProcess:
    """The worker is a process, which is killed, and an app whose process is gone."""

    @pytest.fixture
    def control(self, tmp_path: Path) -> Control:
        return Control(tmp_path)

    @pytest.fixture
    def app(self, control: Control, tmp_path: Path) -> SpectrumApp:
        settings = Settings(output_dir=str(tmp_path / "out"))
        return SpectrumApp(settings, worker_command=control.command)

    async def test_cancelled_download_starts_another_worker(
        self, app: SpectrumApp, control: Control
    ) -> None:
        async with app.run_test(size=SIZE) as pilot:
            await read(pilot, app, "org/remote")
            await until(pilot, lambda: app.setup_screen.summary)
            await pilot.press("d")
            await until(pilot, lambda: control.requests("download"))
            pid = app.runner.pid
            await pilot.press("escape")
            await until(pilot, lambda: app.runner.pid not in (None, pid))
            await pilot.press("escape")
            app.setup_screen.query_one("#model", Input).value = "good"
            await pilot.press("enter")
            await until(pilot, lambda: app.setup_screen.summary)

    async def test_a_worker_that_dies_while_reading_is_said(
        self, app: SpectrumApp, control: Control
    ) -> None:
        async with app.run_test(size=SIZE) as pilot:
            await read(pilot, app, "silent")
            await until(pilot, lambda: control.requests("inspect"))
            control.tell("die SIGSEGV")
            field = app.setup_screen.query_one("#field-model", Field)
            await until(pilot, lambda: field.error)
            assert field.error == "The scan process was killed (SIGSEGV)."

    async def test_scores_stay_open_when_the_worker_dies_while_it_looks_for_sizes(
        self, control: Control, tmp_path: Path
    ) -> None:
        path = tmp_path / "snr_results_x.json"
        path.write_text('{"model.layers.0.mlp.down_proj": {"snr": 1.5, "type": "mlp.down_proj"}}')
        app = SpectrumApp(
            Settings(sizes_from="silent"), results=path, worker_command=control.command
        )
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: at(app, ResultsScreen) and control.requests("sizes"))
            pid = app.runner.pid
            control.tell("die SIGKILL")
            await until(pilot, lambda: [n for n in app._notifications if "(SIGKILL" in n.message])
            assert at(app, ResultsScreen)
            app.runner.suggest(app.settings)
            await until(pilot, lambda: app.runner.pid not in (None, pid))

    async def test_a_dead_worker_offers_to_go_on(self, app: SpectrumApp, control: Control) -> None:
        async with app.run_test(size=SIZE) as pilot:
            await to_scan(pilot, app)
            control.tell("layer 0", "die SIGKILL")
            await until(pilot, lambda: phase(app) == "died")
            await until(pilot, lambda: app.screen.has_class("-over"))
            await pilot.press("g")
            await until(pilot, lambda: phase(app) == "running")
            control.tell("layer 0", "finish")
            await until(pilot, lambda: at(app, ResultsScreen))

    async def test_results_of_a_dead_worker_are_collected(
        self, app: SpectrumApp, control: Control
    ) -> None:
        async with app.run_test(size=SIZE) as pilot:
            await to_scan(pilot, app)
            control.tell("die SIGKILL")
            await until(pilot, lambda: phase(app) == "died")
            await until(pilot, lambda: app.screen.has_class("-over"))
            await pilot.press("r")
            await until(pilot, lambda: control.requests("stop"))
            assert len(control.requests("scan")) == 2

    @pytest.mark.parametrize("key", ["ctrl+q", "q"])
    async def test_quit_without_a_scan_does_not_ask(self, app: SpectrumApp, key: str) -> None:
        async with app.run_test(size=SIZE) as pilot:
            await to_layers(pilot, app)
            pid = app.runner.pid
            assert pid is not None
            await pilot.press(key)
            await pilot.pause()
        assert app.return_code == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


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
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Scan", "Back", "Help", "Quit", "Light theme"} <= titles
        await pilot.press("ctrl+p")
        assert at(app, CommandPalette)
        await pilot.press(*"light")
        await pilot.pause(0.2)
        await pilot.press("enter")
        await until(pilot, lambda: app.theme == "spectrum-light")
        assert "Dark theme" in {c.title for c in app.get_system_commands(app.screen)}


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
