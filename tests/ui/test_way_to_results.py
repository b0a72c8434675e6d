"""From a model to its results: downloads, scans that stop and go on, and what quitting asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Button, Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.app.widgets.plan_panel import PlanPanel
from spectrum_tui.app.widgets.scan_grid import ScanGrid
from spectrum_tui.core.settings import Settings
from tests.ui.way import SIZE, at, phase, read, stop, to_scan
from tests.ui.worker_control import DirectControl, until


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


async def test_the_results_open_where_the_map_of_the_scan_was_left(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        screen = app.screen
        assert isinstance(screen, ScanScreen)
        await until(pilot, lambda: screen.query(ScanGrid) and screen.query_one(ScanGrid).has_focus)
        control.tell("layer 3", "bad 1")
        await until(pilot, lambda: app.runner.progress.snapshot().failed)
        await pilot.press("right", "right", "right")
        control.tell(*(f"layer {i}" for i in (0, 2, 4, 5)), "finish")
        await until(pilot, lambda: at(app, ResultsScreen))
        results = app.screen
        assert isinstance(results, ResultsScreen)
        (row,) = results.views.current_rows
        assert results.state.result.scores.layers[row] == "model.layers.3.mlp.down_proj"


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
        assert str(panel.query_one("#start", Button).label) == "Download and scan (s)"
        assert "downloads 2.00 kB first" in str(panel.query_one("#where-from", Static).visual)
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
        assert facts["Earlier scan"] == "1 of 6 layers is scored already"
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
    monkeypatch.setattr("spectrum_tui.app.scans.cache_note", lambda: note)
    app = SpectrumApp(Settings())
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        quits = [one.binding for one in app.screen.active_bindings.values()]
        assert not any("kept" in one.tooltip for one in quits if one.action == "quit")
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
