"""The library in the app: how it is reached, searched, sorted, marked, noted and cleared."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.compare import CompareScreen
from spectrum_tui.app.screens.library import LibraryScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.library_table import LibraryTable
from spectrum_tui.cli.main import main
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved import library
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.ui.way import SIZE, at
from tests.ui.worker_control import DirectControl, until

HOSTILE = "a\x1b[2J[/b][red]\u202eb"


def scores(name: str, layers: int) -> Result:
    plain = made.result(layers=layers, model=name)
    return replace(plain, scores=made.ranked(plain.scores, plain.scores.values[::-1].copy()))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three score files in the library, the last used first."""
    found: list[Path] = []
    for name, layers in (("org/base", 3), ("org/tuned", 3), (HOSTILE, 5)):
        result = scores(name, layers)
        path = save_scores(result, tmp_path / f"of {layers}").scores
        library.record(result, path)
        entry = next(entry for entry in library.entries() if entry.path == str(path))
        library._write(replace(entry, used=1e9 + len(found)))
        found.insert(0, path)
    return found


async def opened(app: SpectrumApp, pilot: Pilot[Any]) -> LibraryTable:
    await pilot.press("ctrl+l")
    await until(pilot, lambda: at(app, LibraryScreen) and app.screen.query_one(LibraryTable).rows)
    return app.screen.query_one(LibraryTable)


def lines(table: LibraryTable, width: int = 79) -> list[str]:
    return [table.render_row(row, width).text for row in range(table.line_count)]


def models(table: LibraryTable) -> list[str]:
    return [entry.model for entry in table.rows]


async def test_enter_opens_the_file_and_escape_comes_back(
    app: SpectrumApp, paths: list[Path]
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        assert models(table) == [HOSTILE, "org/tuned", "org/base"]
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(app, ResultsScreen))
        assert isinstance(app.screen, ResultsScreen)
        assert app.screen.state.result.source == str(paths[1])
        await pilot.press("escape")
        await until(pilot, lambda: models(table)[0] == "org/tuned")
        assert table.current is not None
        assert table.current.path == str(paths[1])
        await pilot.press("escape")
        assert at(app, SetupScreen)


async def test_what_the_first_screen_says_holds_for_files_of_the_library(
    app: SpectrumApp, paths: list[Path]
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        app.setup_screen.query_one("#top_percent", Input).value = "12"
        await opened(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, ResultsScreen))
        assert isinstance(app.screen, ResultsScreen)
        assert app.screen.state.choice.policy.percent == 12


async def test_hostile_names_are_text(app: SpectrumApp, paths: list[Path]) -> None:
    async with app.run_test(size=(160, 40)) as pilot:
        table = await opened(app, pilot)
        assert "[/b][red]" in lines(table)[0]
        await pilot.press("n")
        await pilot.press(*"[b]x", "enter")
        await until(pilot, lambda: table.current and table.current.note)
        assert "[b]x" in lines(table)[0]
        await pilot.press("delete")
        screen = app.screen
        for strip in screen._compositor.render_strips():
            assert strip.text.isprintable()
        assert "[/b][red]" in str(screen.query_one("#detail", Static).content)


async def test_search_and_sort(app: SpectrumApp, paths: list[Path]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        await pilot.press("slash", *"TUNED")
        assert models(table) == ["org/tuned"]
        await pilot.press("enter", "escape")
        assert len(table.rows) == 3
        await pilot.press("s")
        assert models(table) == [HOSTILE, "org/base", "org/tuned"]
        await pilot.press("S")
        assert models(table) == ["org/tuned", "org/base", HOSTILE]
        await pilot.press("s", "s")
        assert table.rows[0].layers == 35
        await pilot.press("slash", *"nothing", "enter")
        assert table.current is None
        await pilot.press("space", "enter", "n", "delete", "o")
        assert at(app, LibraryScreen)
        facts = app.screen.query_one("#facts", Static)
        assert "Nothing contains this text" in str(facts.content)


async def test_a_click_on_a_title_sorts(app: SpectrumApp, paths: list[Path]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        title = table.render_header(0, 79).text.index("model")
        await pilot.click(LibraryTable, offset=(title, 0))
        assert models(table) == [HOSTILE, "org/base", "org/tuned"]
        await pilot.click(LibraryTable, offset=(title, 0))
        assert models(table)[-1] == HOSTILE


async def test_two_marks_are_compared(app: SpectrumApp, paths: list[Path]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        await pilot.press("o")
        assert at(app, LibraryScreen)
        await pilot.press("space", "down", "down", "space", "up", "space")
        assert table.marked == [str(paths[0]), str(paths[1])]
        await pilot.press("up", "space")
        assert table.marked == [str(paths[1])]
        assert lines(table)[1].startswith("A ")
        await pilot.press("end", "o")
        await until(pilot, lambda: at(app, CompareScreen))
        assert isinstance(app.screen, CompareScreen)
        comparison = app.screen.comparison
        assert [comparison.a.source, comparison.b.source] == [str(paths[1]), str(paths[2])]
        await pilot.press("escape")
        assert at(app, LibraryScreen)


async def test_a_note_is_written_changed_and_searched(app: SpectrumApp, paths: list[Path]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        await pilot.press("down", "n", *"24 GB", "enter")
        await until(pilot, lambda: "24 GB" in lines(table)[1])
        assert table.cursor == 1
        await pilot.press("n", *" card", "escape")
        await pilot.press("slash", *"24 g", "enter")
        assert models(table) == ["org/tuned"]
    assert [entry.note for entry in library.entries()] == ["", "24 GB", ""]


async def test_only_an_entry_is_removed_and_only_when_sure(
    app: SpectrumApp, paths: list[Path]
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        await pilot.press("delete", "enter")
        assert len(table.rows) == 3
        await pilot.press("delete", "y")
        await until(pilot, lambda: len(table.rows) == 2)
        assert models(table) == ["org/tuned", "org/base"]
    assert all(path.is_file() for path in paths)


async def test_a_file_that_is_gone_is_marked(app: SpectrumApp, paths: list[Path]) -> None:
    paths[0].unlink()
    async with app.run_test(size=SIZE) as pilot:
        table = await opened(app, pilot)
        await until(pilot, lambda: table.gone)
        assert lines(table)[0].startswith("✗ ")
        assert [line[0] for line in lines(table)[1:]] == [" ", " "]
        assert "gone" in str(app.screen.query_one("#facts", Static).content)
        await pilot.press("enter")
        await until(pilot, lambda: app._notifications)
        assert at(app, LibraryScreen)


async def test_an_unwritable_note_is_said(
    app: SpectrumApp, paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await opened(app, pilot)
        (tmp_path / "a file").write_text("")
        monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "a file"))
        await pilot.press("n", "x", "enter")
        await until(pilot, lambda: app._notifications)
        assert "Cannot write" in next(iter(app._notifications)).message


async def test_an_empty_library_says_so(app: SpectrumApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: at(app, LibraryScreen))
        assert "No scores yet" in str(app.screen.query_one("#facts", Static).content)
        await pilot.press("enter", "space", "n", "delete", "o", "slash", "s", "escape")
        assert at(app, SetupScreen)


class Alone(App[None]):
    def __init__(self, table: LibraryTable) -> None:
        super().__init__()
        self._table = table

    def compose(self) -> ComposeResult:
        yield self._table


@pytest.mark.parametrize("width", [56, 79, 109, 110, 159])
async def test_lines_are_as_wide_as_told(width: int) -> None:
    plain = library.Entry(
        path="/f/日本語/" + "x" * 90,
        model="org/モデル" + "y" * 50,
        used=1e9,
        layers=60_000,
        planned=600_000,
        failed=1,
        metric="effective_rank",
        device="cuda:0, cuda:1, cuda:2",
        finished="2026-11-29" * 3,
    )
    table = LibraryTable()
    async with Alone(table).run_test(size=(160, 40)):
        table.show_entries([plain, replace(plain, model="m"), replace(plain, note="n語" * 60)])
        cells = {table.render_row(row, width).cell_length for row in range(3)}
        assert cells == {width}
        assert table.render_header(0, width).cell_length == width


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> SpectrumApp:
    """The app as a command line starts it, up to where it takes the terminal."""
    apps: list[SpectrumApp] = []

    def keep(app: SpectrumApp) -> int:
        apps.append(app)
        return 0

    terminal = SimpleNamespace(isatty=lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", terminal)
        patch.setattr("sys.stderr", terminal)
        patch.setattr("spectrum_tui.app.run.run_app", keep)
        assert main([*arguments]) == 0
    return apps[0]


async def test_the_last_file_that_is_there_opens(
    control: DirectControl, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths[0].unlink()
    app = started(monkeypatch, "--last", "--top-percent", "9")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen))
        assert isinstance(app.screen, ResultsScreen)
        assert app.screen.state.result.source == str(paths[1])
        assert app.screen.state.choice.policy.percent == 9


async def test_two_files_of_the_command_line_are_compared(
    control: DirectControl, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = started(monkeypatch, str(paths[2]), "--top-percent", "34", str(paths[1]))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, CompareScreen))
        assert isinstance(app.screen, CompareScreen)
        assert app.screen.slider.value == 34
        assert app.screen.comparison.b.provenance.model == "org/tuned"
        await pilot.press("escape")
        assert at(app, SetupScreen)
    assert {entry.path for entry in library.entries()[:2]} == {str(paths[1]), str(paths[2])}
    assert time.time() - library.entries()[0].used < 60


async def test_files_that_cannot_be_compared_are_said(
    control: DirectControl, paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("[1]")
    app = SpectrumApp(Settings(), results=paths[2], other=tmp_path / "bad.json")
    async with app.run_test(size=SIZE) as pilot:
        field = app.setup_screen.query_one("#field-model", Field)
        await until(pilot, lambda: "bad.json is not a score file" in field.error)
