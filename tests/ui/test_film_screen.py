"""A training run as a film: how it opens, is stepped through and plays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.widgets import Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens import film
from spectrum_tui.app.screens.film import FilmScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.cli.main import main
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.saved.steps import ADAPTER_LINES
from spectrum_tui.core.settings import OPTIONS, Settings
from tests.commands import Capture, refused
from tests.ui.way import SIZE, at, read
from tests.ui.worker_control import DirectControl, until
from tests.unit.comparison.test_film import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return run(tmp_path / "run")


def app_of(folder: Path, settings: Settings | None = None) -> SpectrumApp:
    return SpectrumApp(settings or Settings(top_percent=50), results=folder)


async def test_what_became_of_adapters_stands_with_the_step(
    control: DirectControl, folder: Path
) -> None:
    line = '{"step": 500, "moves": "6 layers up to rank 32, 2 off"}'
    (folder / ADAPTER_LINES).write_text(line)
    app = app_of(folder)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, FilmScreen))
        screen = app.screen
        assert isinstance(screen, FilmScreen)
        assert screen._line.left == "Step 0"
        assert "step" not in str(screen.query_one("#panel").border_title)
        await pilot.press("right")
        assert screen._line.left == "Step 500: 6 layers up to rank 32, 2 off"


async def test_steps_by_hand(control: DirectControl, folder: Path) -> None:
    app = app_of(folder)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, FilmScreen))
        screen = app.screen
        assert isinstance(screen, FilmScreen)
        assert screen.totals.left == "28 layers of 28 as at step 0, 0 entered, 0 left"
        assert "<" not in screen.map.render_row(0, 70).text
        await pilot.press("left", "right", "right", "right", "right")
        assert screen.at == 3
        comparison = screen._frames[3].comparison
        whole = comparison.whole(Policy(percent=50))
        assert screen.totals.left.endswith(
            f"{whole.b - whole.shared} entered, {whole.a - whole.shared} left"
        )
        rows = [screen.map.render_row(row, 70).text for row in range(7)]
        assert sum(row.count(">") for row in rows) == whole.b - whole.shared > 0
        assert str(screen.query_one("#track", Static).content).endswith("━●")
        await pilot.press("tab", "right")
        assert screen.at == 3
        assert screen.slider.value == 51
        await pilot.press("escape")
        assert at(app, SetupScreen)


async def test_space_plays_to_the_end_and_from_the_beginning(
    control: DirectControl, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "FRAME_SECONDS", 0.02)
    app = app_of(folder)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, FilmScreen))
        screen = app.screen
        assert isinstance(screen, FilmScreen)
        await pilot.press("space")
        await until(pilot, lambda: screen.at == 3 and screen._playing is None)
        monkeypatch.setattr(film, "FRAME_SECONDS", 60)
        await pilot.press("space")
        assert screen.at == 0
        assert screen._playing is not None
        await pilot.press("right")
        assert screen.at == 1
        assert screen._playing is None


async def test_a_policy_that_a_run_does_not_allow_is_said(
    control: DirectControl, folder: Path
) -> None:
    app = app_of(folder, Settings(top_percent=30, rule="global"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, FilmScreen) and app._notifications)
        screen = app.screen
        assert isinstance(screen, FilmScreen)
        assert screen._policy == Policy(percent=30)


async def test_steps_that_are_left_out_are_named(control: DirectControl, folder: Path) -> None:
    (folder / "snr_results_made-llama-step-500.json").write_text("[1]")
    app = app_of(folder)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, FilmScreen) and app._notifications)
        (said,) = app._notifications
        assert said.title == "1 file not wholly shown"
        assert said.message.startswith("snr_results_made-llama-step-500.json is left out: ")


async def test_a_run_that_cannot_be_read_is_said(control: DirectControl, folder: Path) -> None:
    for path in folder.iterdir():
        path.write_text("{}")
    app = app_of(folder)
    async with app.run_test(size=SIZE) as pilot:
        await until(
            pilot, lambda: "no two score files" in app.setup_screen._form.field("model").error
        )


async def test_a_run_opens_from_the_model_field(app: SpectrumApp, folder: Path) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, str(folder))
        await until(pilot, lambda: at(app, FilmScreen))
        await pilot.press("escape")
        assert at(app, SetupScreen)
        field = app.setup_screen._form.field("model")
        assert (field.error, field.help_text) == ("", OPTIONS["model"].note)
        assert app.setup_screen.query_one(FoundPanel).state == "empty"
        assert app.setup_screen._form.typed()[0] == str(folder)


async def test_a_step_opens_the_run_at_it_and_enter_its_scores(
    app: SpectrumApp, folder: Path
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        app.setup_screen._form.input("top_percent").value = "40"
        await read(pilot, app, str(folder / "snr_results_made-llama-step-500.json"))
        await until(pilot, lambda: at(app, FilmScreen))
        screen = app.screen
        assert isinstance(screen, FilmScreen)
        assert screen.at == 1
        await pilot.press("right", "enter")  # a burst: what enter opens is what right went to
        await until(pilot, lambda: at(app, ResultsScreen))
        results = app.screen
        assert isinstance(results, ResultsScreen)
        assert results.state.result.source.endswith("-step-1000.json")
        assert results.state.saved_policy.percent == 40
        await pilot.press("escape", "escape")
        assert at(app, SetupScreen)


async def test_a_step_alone_opens_as_scores(app: SpectrumApp, tmp_path: Path) -> None:
    alone = run(tmp_path, steps=(500,)) / "snr_results_made-llama-step-500.json"
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, str(alone))
        await until(pilot, lambda: at(app, ResultsScreen))


async def test_a_run_waits_for_a_percentage_that_can_be(app: SpectrumApp, folder: Path) -> None:
    async with app.run_test(size=SIZE) as pilot:
        app.setup_screen._form.input("top_percent").value = "400"
        await read(pilot, app, str(folder))
        field = app.setup_screen._form.field("top_percent")
        await until(pilot, lambda: field.error)
        assert at(app, SetupScreen)
        assert app.setup_screen.query_one(FoundPanel).state == "empty"


async def test_a_run_that_cannot_be_read_is_said_beside_the_model(
    app: SpectrumApp, folder: Path
) -> None:
    for path in folder.iterdir():
        path.write_text("{}")
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, str(folder))
        field = app.setup_screen._form.field("model")
        await until(pilot, lambda: "no two score files" in field.error)
        assert app.setup_screen.query_one(FoundPanel).state == "empty"


def test_the_command_line_opens_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert "--metric is not for a training run" in refused(
        capsys, str(folder), "--metric", "spectrum"
    )
    opened: list[SpectrumApp] = []

    def keep(app: SpectrumApp) -> int:
        opened.append(app)
        return 0

    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("spectrum_tui.app.run.run_app", keep)
    assert main([str(folder)]) == 0
    assert opened[0]._results == folder
