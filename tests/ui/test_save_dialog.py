"""The save dialog: the kinds of recipe, their files, and what is wrong before they are written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Button, Checkbox, Input, Static

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens import save
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.widgets.kind_list import KindList
from spectrum_tui.cli.main import main
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.kinds import OFFERED
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from tests import fused, made
from tests.commands import Capture
from tests.made import TEXT_KINDS

NAMES = [kind.name for kind in TEXT_KINDS]
DOWN_TO = {name: ["down"] * number for number, name in enumerate(NAMES)}


class Host(BaseApp):
    """The results of a file, whose save dialog is asked for."""

    def __init__(self, result: Result, folder: Path, percent: int = 50) -> None:
        super().__init__()
        settings = Settings(top_percent=percent, output_dir=str(folder))
        self.results = ResultsScreen(ResultState(result, settings))

    def get_default_screen(self) -> Screen[None]:
        return self.results

    def said(self, selector: str) -> str:
        return str(self.screen.query_one(selector, Static).content)

    @property
    def dialog(self) -> SaveScreen:
        assert isinstance(self.screen, SaveScreen)
        return self.screen


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def test_a_kind_is_saved_as_export_writes_it(tmp_path: Path, capsys: Capture) -> None:
    result = made.with_parameters(made.result(layers=12))
    scores = save_scores(result, tmp_path / "scores").scores
    app = Host(result, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        for name in NAMES:
            app.results.state.kind = NAMES[0]  # the kinds are counted from the first
            folder = tmp_path / name
            app.results.state.settings = replace(app.results.state.settings, output_dir=str(folder))
            await press(pilot, "w", *DOWN_TO[name])
            listing = re.sub(r"\n +", "", app.said("#files")).split()  # long names are folded
            await press(pilot, "enter")
            assert app.screen is app.results
            written = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
            assert written == {word for word in listing if word != "new"}
            assert app.results.state.saved is not None
            exported = tmp_path / f"exported-{name}{app.results.state.saved.suffix}"
            assert main(["export", str(scores), "--as", name, "-o", str(exported)]) == 0
            if exported.is_dir():
                exported /= app.results.state.saved.name
            assert app.results.state.saved.read_bytes() == exported.read_bytes()


async def test_up_and_down_choose_from_the_folder_too(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w", "up", "down", "tab")
        assert isinstance(app.focused, Input)
        await press(pilot, "down")
        assert app.dialog.kind.name == NAMES[2]
        assert f"_{NAMES[2]}_50percent" in app.said("#files")
        await press(pilot, *["down"] * len(OFFERED))
        assert app.dialog.kind is OFFERED[-1]
        await press(pilot, *["up"] * len(OFFERED))
        assert app.dialog.kind is TEXT_KINDS[0]


async def test_a_click_chooses_and_writes_nothing(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w")
        await pilot.click(KindList, offset=(10, 3))
        await press(pilot)
        assert app.dialog.kind is TEXT_KINDS[3]
        assert list(tmp_path.iterdir()) == []
        await pilot.click("#save")
        await press(pilot)
        assert app.screen is app.results


async def test_the_kind_is_remembered_while_the_app_runs(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w", "down", "down", "escape", "w")
        assert app.dialog.kind is TEXT_KINDS[0]  # it was not used
        await press(pilot, "down", "down", "enter", "w")
        assert app.dialog.kind is TEXT_KINDS[2]
        assert "replaces" in app.said("#files")


async def test_copy_stays_the_safe_yaml(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w", "down", "down", "enter", "c")
        assert app.clipboard == app.results.state.text()
        assert "gradient_checkpointing" not in app.clipboard


async def test_a_refusal_is_shown_before_anything_is_saved(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "e", "w", "down")
        assert "always trains embeddings" in app.said("#error")
        assert app.said("#files") == ""
        await press(pilot, "enter")
        assert "always trains embeddings" in app.said("#error")
        await press(pilot, "down")
        assert app.screen.query_one("#error").region.height == 0
        assert "new" in app.said("#files")
        assert list(tmp_path.iterdir()) == []


async def test_single_experts_are_offered_where_there_are_some(tmp_path: Path) -> None:
    app = Host(fused.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w")
        box = app.screen.query_one("#experts", Checkbox)
        assert not box.display
        await press(pilot, "down", "down")
        assert box.display
        await pilot.click(box)
        await press(pilot)
        assert "Only axolotl reads ranges" in app.said("#report")
        await press(pilot, "up")  # another kind takes whole parameters
        assert not box.display
        await press(pilot, "down", "enter")
    assert app.results.state.saved is not None
    assert "gate_up_proj[" in app.results.state.saved.read_text(encoding="utf-8")


async def test_no_experts_no_box(tmp_path: Path) -> None:
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w", "down", "down")
        assert not app.screen.query_one("#experts").display


async def test_the_reference_says_what_its_head_lines_miss(tmp_path: Path) -> None:
    plain = made.with_parameters(made.result())
    rest = tuple(p for p in plain.parameters if p.name != "lm_head.weight")
    heads = tuple(h for h in plain.embeddings if h.name != "lm_head.weight")
    app = Host(replace(plain, parameters=rest, embeddings=heads), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "w", "down")
        assert "This model has no lm_head.weight" in app.said("#report")


class Long(RecipeKind):
    title = "Long"
    purpose = "word " * 30

    def __init__(self, name: str) -> None:
        self.name = name

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        return tuple(RecipeFile(f"_{number}.json", "{}") for number in range(12))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_eight_kinds_and_many_files_fit(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = (*TEXT_KINDS[:4], *(Long(f"x{i}") for i in range(4)))
    monkeypatch.setattr(save, "kinds_for", lambda result: offered)
    app = Host(made.result(), tmp_path)
    async with app.run_test(size=size) as pilot:
        await press(pilot, "w")
        places = [app.screen.query_one("#dialog").region]
        await press(pilot, *["down"] * 7)
        places.append(app.screen.query_one("#dialog").region)
        await press(pilot, "pagedown", "pagedown", "pagedown")
        details = app.screen.query_one("#details")
        assert details.scroll_offset.y == details.max_scroll_y > 0
        await press(pilot, "pageup", "pageup", "pageup")
        assert details.scroll_offset == Offset(0, 0)
        app.screen.query_one(Input).value = "\0"
        await press(pilot, "enter")
        assert app.screen.query_one("#error").region.height == 3
        places.append(app.screen.query_one("#dialog").region)
        assert len(set(places)) == 1  # nothing moves
        assert places[0].bottom <= size[1] and places[0].y >= 0
        kinds, buttons = app.screen.query_one(KindList), app.screen.query_one("#save", Button)
        assert kinds.region.height == 8
        assert buttons.region.bottom < places[0].bottom
