"""The comparison: how it is reached, what it shows, and what a wrong file does."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from spectrum_tui.app.screens.compare import CompareScreen
from spectrum_tui.app.screens.compare_file import CompareFileScreen, score_files
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.widgets.compare_lines import track_parts
from spectrum_tui.core.comparison.compare import Move, compare
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import load_result, save_scores
from spectrum_tui.core.settings import Settings
from tests import made

PERCENT = 34


class Host(App[None]):
    """An app that does nothing but show the results."""

    def __init__(self, result: Result, folder: Path) -> None:
        super().__init__()
        self.results = ResultsScreen(
            ResultState(result, Settings(top_percent=PERCENT, output_dir=str(folder)))
        )

    def on_mount(self) -> None:
        self.push_screen(self.results)


def tuned(plain: Result) -> Result:
    scores = plain.scores
    noise = np.random.default_rng(2).lognormal(0, 0.6, len(scores))
    origin = replace(plain.provenance, model="made/tuned")
    return replace(plain, scores=made.ranked(scores, scores.values * noise), provenance=origin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder with the scores of a model and of its tuned version, the newer one."""
    plain = made.result(names={0: "a[/b][red]"})
    for age, result in ((50, plain), (0, tuned(plain))):
        path = save_scores(result, tmp_path).scores
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return tmp_path


def host(folder: Path) -> Host:
    return Host(load_result(folder / "model_snr_results" / "snr_results_made-llama.json"), folder)


async def until_shown(pilot: Pilot[None], screen: type) -> None:
    for _ in range(100):
        await pilot.pause()
        if isinstance(pilot.app.screen, screen):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(pilot.app.screen)


async def offered(pilot: Pilot[None]) -> CompareFileScreen:
    """The dialog once it has looked at the folder."""
    await pilot.press("o")
    await until_shown(pilot, CompareFileScreen)
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    assert isinstance(pilot.app.screen, CompareFileScreen)
    return pilot.app.screen


def test_the_files_that_are_offered(folder: Path) -> None:
    own = folder / "model_snr_results" / "snr_results_made-llama.json"
    names = [path.name for path in score_files(folder, "")]
    assert names == ["snr_results_made-tuned.json", "snr_results_made-llama.json"]
    assert [path.name for path in score_files(folder, str(own))] == names[:1]
    assert score_files(folder / "nowhere", "") == []


async def test_a_file_is_picked_and_the_slider_moves_what_is_shown(folder: Path) -> None:
    async with host(folder).run_test(size=(120, 40)) as pilot:
        await offered(pilot)
        await pilot.press("down", "enter")
        await until_shown(pilot, CompareScreen)
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen)
        assert screen.slider.value == PERCENT
        whole = screen.comparison.whole(Policy(percent=PERCENT))
        assert screen.totals.left.startswith(f"{whole.shared} layers selected by both, of 28 by A")
        await pilot.press("left")
        assert screen.slider.value == PERCENT - 1
        assert "of 21 by A" in screen.totals.left
        line = screen.types.render_row(0, 90).text
        assert line.startswith("mlp.down_proj")
        rows = [screen.moves.render_row(row, 100).text for row in range(screen.moves.line_count)]
        assert any("a[/b][red]" in row for row in rows)
        mask_a, mask_b = screen.comparison.masks(Policy(percent=PERCENT - 1))
        assert sum(" enters " in row for row in rows) == int((mask_b & ~mask_a).sum())
        assert sum(" leaves " in row for row in rows) == int((mask_a & ~mask_b).sum())
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, ResultsScreen)
        assert pilot.app.screen.state.choice.percent == PERCENT


@pytest.mark.parametrize("typed", ["nowhere.json", "bad.json", "~nobody/x.json", "x" * 300])
async def test_what_cannot_be_read_is_said_in_the_dialog(folder: Path, typed: str) -> None:
    (folder / "bad.json").write_text("[1, 2]")
    async with host(folder).run_test(size=(80, 24)) as pilot:
        screen = await offered(pilot)
        field = screen.query_one(Input)
        field.value = str(folder / typed) if typed == "bad.json" else typed
        await pilot.press("enter")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert pilot.app.screen is screen
        error = screen.query_one("#error", Static)
        assert error.has_class("-shown")
        assert str(error.content).startswith("✗ ")
        await pilot.press("end", "backspace")
        assert not error.has_class("-shown")


@pytest.mark.parametrize("readable", [True, False])
async def test_what_is_typed_while_a_file_is_read_goes_by(
    folder: Path, readable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = threading.Event()

    def slowly(path: Path) -> Result:
        read.wait(10)
        if not readable:
            raise ResultsError("No scores.", "Choose others.")
        return load_result(path)

    monkeypatch.setattr("spectrum_tui.app.key_order.KEY_WAIT", 0.0)
    app = host(folder)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await offered(pilot)
        field, files = screen.query_one("#path", Input), screen.query_one(OptionList)
        monkeypatch.setattr("spectrum_tui.app.screens.compare_file.load_result", slowly)
        await pilot.press("down", "enter", *"xyz", "enter", "up", "left")
        assert app.screen is screen and field.value == ""
        read.set()
        if readable:
            await until_shown(pilot, CompareScreen)
            assert isinstance(app.screen, CompareScreen)
            assert app.screen.slider.value == PERCENT
        else:
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            assert app.focused is files and not field.disabled
            assert "No scores." in str(screen.query_one("#error", Static).content)


async def test_without_files_only_the_field_is_there(tmp_path: Path) -> None:
    async with Host(made.result(), tmp_path).run_test(size=(80, 24)) as pilot:
        screen = await offered(pilot)
        assert not screen.query_one(OptionList).display
        await pilot.press("enter", "down")
        assert screen.focused is screen.query_one(Input)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, ResultsScreen)


@pytest.mark.parametrize("width", [55, 60, 76, 120])
async def test_lines_are_as_wide_as_told(width: int) -> None:
    plain = made.result(layers=16, norms=True)
    found = compare(plain, tuned(made.result(layers=16, types=5)))
    screen = CompareScreen(found, Policy(percent=25))
    app = App[None]()
    async with app.run_test(size=(120, 40)):
        await app.push_screen(screen)
        for row in range(screen.types.line_count):
            assert screen.types.render_row(row, width).cell_length == width
        texts = [screen.types.render_row(row, 90).text for row in range(screen.types.line_count)]
        assert ["only A" in text for text in texts] == [False] * 5 + [True] * 3
        cells = {screen.moves.render_row(row, width).cell_length for row in range(20)}
        assert max(cells) <= width


@pytest.mark.parametrize("width", [55, 60, 76, 120])
async def test_the_map_of_differences_is_as_wide_as_told(width: int) -> None:
    plain = made.result(layers=80)
    screen = CompareScreen(compare(plain, tuned(plain)), Policy(percent=25))
    async with App[None]().run_test(size=(120, 40)) as pilot:
        await pilot.app.push_screen(screen)
        for row in range(7):
            assert screen.map.render_row(row, width).cell_length == width
            assert screen.ranks.render_row(row, width).cell_length == width
        assert screen.map.render_header(0, width).cell_length <= width


async def test_the_map_follows_the_slider_and_takes_the_place_of_the_moves(folder: Path) -> None:
    plain = made.result(layers=12)
    screen = CompareScreen(compare(plain, tuned(plain)), Policy(percent=50))
    async with App[None]().run_test(size=(80, 24)) as pilot:
        await pilot.app.push_screen(screen)
        await pilot.press("tab", "tab")
        assert screen.moves.has_focus
        await pilot.press("m")
        assert screen.map.has_focus
        marks = screen.map.render_row(0, 74).text.split("  ", 1)[1]
        agreement = screen.comparison.at(Policy(percent=50))[0]
        assert marks.count("●") == agreement.shared
        assert marks.count("<") == agreement.a - agreement.shared
        assert marks.count(">") == agreement.b - agreement.shared
        await pilot.pause()
        assert "< only A" in str(screen._second.border_subtitle)
        screen.slider.value = 100
        await pilot.pause()
        assert screen.map.render_row(0, 74).text.count("●") == 12
        await pilot.press("m")
        assert screen.ranks.has_focus
        ranks = screen.ranks.render_row(0, 74).text.split("  ", 1)[1]
        moved = [move for move in screen.comparison.moves if move.type == "mlp.down_proj"]
        rose = sum(move.by / (move.of - 1) <= -0.05 for move in moved)
        assert ranks.count("+") + ranks.count("▲") == rose
        await pilot.pause()
        assert "= same rank" in str(screen._second.border_subtitle)
        await pilot.press("m")
        assert screen.moves.has_focus
        assert not screen.map.display


@pytest.mark.parametrize(("key", "side"), [("w", None), ("A", 0), ("B", 1)])
async def test_what_both_or_one_select_is_saved(folder: Path, key: str, side: int | None) -> None:
    plain = made.with_parameters(made.result(layers=12))
    screen = CompareScreen(compare(plain, tuned(plain)), Policy(percent=50), str(folder))
    async with App[None]().run_test(size=(100, 30)) as pilot:
        await pilot.app.push_screen(screen)
        await pilot.press(key)
        await until_shown(pilot, SaveScreen)
        title = str(pilot.app.screen.query_one("#dialog").border_title)
        who = "A and B both select" if side is None else f"{key} selects"
        assert title.startswith(f"Save what {who}: the top 50 %")
        await pilot.app.workers.wait_for_complete()
        await pilot.press("enter")
        await until_shown(pilot, CompareScreen)
    (recipe,) = folder.glob("*.yaml")
    names = yaml.safe_load(recipe.read_text())["unfrozen_parameters"]
    masks = screen.comparison.masks(Policy(percent=50))
    expected = masks[0] & masks[1] if side is None else masks[side]
    assert (masks[0] != masks[1]).any()
    layers = {f"{plain.scores.layers[row]}.weight" for row in np.flatnonzero(expected)}
    assert {name for name in names if ".layers." in name} == layers


def test_the_line_from_rank_to_rank() -> None:
    def drawn(rank_a: float, rank_b: float, width: int = 9) -> str:
        move = Move(row_a=0, row_b=0, type="", rank_a=rank_a, rank_b=rank_b, of=9)
        return "".join(track_parts(move, width))

    assert drawn(1, 9) == "○━━━━━━━●"
    assert drawn(9, 1) == "●━━━━━━━○"
    assert drawn(3, 5) == "──○━●────"
    assert drawn(3, 2) == "─●○──────"
    assert drawn(2, 3, width=4) == "○●──"
    assert drawn(1, 2, width=3) == "●──"
