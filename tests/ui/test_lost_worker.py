"""An app whose worker is a process, which is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.core.settings import Settings
from tests.ui.way import SIZE, at, phase, read, to_layers, to_scan
from tests.ui.worker_control import Control, until


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path)


@pytest.fixture
def app(control: Control, tmp_path: Path) -> SpectrumApp:
    settings = Settings(output_dir=str(tmp_path / "out"))
    return SpectrumApp(settings, worker_command=control.command)


async def test_cancelled_download_starts_another_worker(app: SpectrumApp, control: Control) -> None:
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


async def test_a_worker_that_dies_while_reading_is_said(app: SpectrumApp, control: Control) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, "silent")
        await until(pilot, lambda: control.requests("inspect"))
        control.tell("die SIGSEGV")
        field = app.setup_screen.query_one("#field-model", Field)
        await until(pilot, lambda: field.error)
        assert field.error == "The scan process was killed (SIGSEGV)."


async def test_scores_stay_open_when_the_worker_dies_while_it_looks_for_sizes(
    control: Control, tmp_path: Path
) -> None:
    path = tmp_path / "snr_results_x.json"
    path.write_text('{"model.layers.0.mlp.down_proj": {"snr": 1.5, "type": "mlp.down_proj"}}')
    app = SpectrumApp(Settings(sizes_from="silent"), results=path, worker_command=control.command)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen) and control.requests("sizes"))
        pid = app.runner.pid
        control.tell("die SIGKILL")
        await until(pilot, lambda: [n for n in app._notifications if "(SIGKILL" in n.message])
        assert at(app, ResultsScreen)
        app.runner.suggest(app.settings)
        await until(pilot, lambda: app.runner.pid not in (None, pid))


async def test_a_dead_worker_offers_to_go_on(app: SpectrumApp, control: Control) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell("layer 0", "die SIGKILL")
        await until(pilot, lambda: phase(app) == "died")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await pilot.press("g")
        await until(pilot, lambda: phase(app) == "running")
        control.tell("layer 0", "finish")
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_results_of_a_dead_worker_are_collected(app: SpectrumApp, control: Control) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell("die SIGKILL")
        await until(pilot, lambda: phase(app) == "died")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await pilot.press("r")
        await until(pilot, lambda: control.requests("stop"))
        assert len(control.requests("scan")) == 2


@pytest.mark.parametrize("key", ["ctrl+q", "q"])
async def test_quit_without_a_scan_does_not_ask(app: SpectrumApp, key: str) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_layers(pilot, app)
        pid = app.runner.pid
        assert pid is not None
        await pilot.press(key)
        await pilot.pause()
    assert app.return_code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
