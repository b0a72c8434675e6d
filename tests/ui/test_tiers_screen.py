"""The dialog of adapter tiers: sliders, ranks, kinds, and what it hands on to saving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.screens.tiers import OFFERED, TiersScreen, shares
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.adapter_kind import AdapterKind
from spectrum_tui.core.recipes.adapters import adapter_layers
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.peft_kinds import TIERS
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots.shown import Shown

SIZE = (80, 24)


def model() -> Result:
    return made.with_parameters(made.result(layers=32, norms=True))


def results(folder: Path, result: Result | None = None) -> ResultsScreen:
    settings = Settings(top_percent=25, output_dir=str(folder))
    return ResultsScreen(ResultState(result or model(), settings))


async def opened(pilot: Pilot[None]) -> TiersScreen:
    await pilot.press("a")
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, TiersScreen)
    return screen


async def test_the_medium_tier_never_ends_before_the_high_one(tmp_path: Path) -> None:
    app = Shown(results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        assert (screen.high.value, screen.medium.value) == (25, 50)
        await pilot.press("6", "0")
        assert (screen.high.value, screen.medium.value) == (60, 60)
        await pilot.press("tab", "left", "home")
        assert (screen.high.value, screen.medium.value) == (60, 60)
        await pilot.press("end", "up", "home")
        assert (screen.high.value, screen.medium.value) == (1, 100)
        await pilot.press("down", "3")
        assert screen.medium.value == 3


async def test_ranks_are_powers_of_two(tmp_path: Path) -> None:
    app = Shown(results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        await pilot.press("r", "tab", "R")
        assert (screen.high.rank, screen.medium.rank) == (64, 4)
        await pilot.press(*"RRRRR", "shift+tab", *"rrrrr")
        assert (screen.high.rank, screen.medium.rank) == (256, 1)


async def test_a_click_changes_rank_and_end(tmp_path: Path) -> None:
    app = Shown(results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        text = screen.medium._text()
        await pilot.click(screen.medium, offset=(text.index("›"), 0))
        await pilot.click(screen.high, offset=(text.index("‹"), 0))
        assert (screen.high.rank, screen.medium.rank) == (16, 16)
        assert (screen.high.value, screen.medium.value) == (25, 50)
        await pilot.click(screen.medium, offset=(screen.medium.size.width - 1, 0))
        await pilot.click(screen.medium, offset=(2, 0))
        assert screen.medium.value == 100
        assert screen.focused is screen.medium


async def test_the_table_says_what_each_kind_trains(tmp_path: Path) -> None:
    app = Shown(results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        await pilot.press("right", "r", "tab", "right")
        for kind, row in zip(OFFERED, screen.table.rows, strict=True):
            choice = Choice(
                selection=screen.choice.selection, policy=Policy(percent=26), tiers=Tiers(51, 64, 8)
            )
            count = kind.count(choice)
            assert row.count == count and count.parameters > 0
            line = screen.table.render_row(OFFERED.index(kind), 76).text
            assert numbers.count(count.parameters) in line
            assert numbers.percent(count.share) in line and len(line) == 76


async def test_sizes_that_are_not_known_are_dashes(tmp_path: Path) -> None:
    app = Shown(results(tmp_path, made.result(layers=32, sizes=False)))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        assert screen.table.render_row(0, 76).text.split()[-2:] == ["–", "–"]


def assert_reported(dialog: SaveScreen, kind: AdapterKind) -> None:
    """The save dialog says how much trains, and what of the selection does not."""
    said = str(dialog._report.content)
    count = kind.count(dialog.choice)
    assert f"{numbers.count(count.parameters)} parameters train" in said
    assert f"{count.high} layers" in said
    assert "selected norms, vectors and convolutions stay frozen" in said


@pytest.mark.parametrize(
    ("keys", "kind"),
    [((), OFFERED[0]), (("n", "n"), OFFERED[2]), ("NN", OFFERED[3]), ("N", OFFERED[4])],
)
async def test_what_is_chosen_is_what_is_saved(
    tmp_path: Path, keys: str, kind: AdapterKind
) -> None:
    app = Shown(screen := results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot)
        await pilot.press("right", "r", *keys, "enter")
        await pilot.pause()
        dialog = app.screen
        assert isinstance(dialog, SaveScreen) and dialog.kind is kind
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert_reported(dialog, kind)
        await pilot.press("ctrl+s")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert screen.state.choice.percent == 26 and screen.state.choice.tiers == Tiers(50, 64, 8)
    (config,) = tmp_path.glob(f"*_{kind.name}_26*percent.json")
    assert config.with_suffix(".py").exists()
    ranks = json.loads(config.read_text())
    assert ranks["r"] in (8, 64)


async def test_closing_leaves_everything_as_it_was(tmp_path: Path) -> None:
    app = Shown(screen := results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await opened(pilot)
        await pilot.press("right", "r", "escape")
        assert app.screen is screen
        assert screen.state.choice.percent == 25 and screen.state.choice.tiers == Tiers()


async def test_what_would_be_refused_cannot_be_saved(tmp_path: Path) -> None:
    app = Shown(results(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        await pilot.press("n", "n", "end", "w")
        assert app.screen is screen
        assert "both tiers" in str(screen._meaning.content)
        await pilot.press("shift+left", "w")
        await pilot.pause()
        assert isinstance(app.screen, SaveScreen)


def test_what_is_lacking() -> None:
    selection = Selection(model())
    layers = adapter_layers(selection)
    for percent, end, wanted in ((1, 1, OFFERED), (1, 50, OFFERED[1:4]), (50, 50, OFFERED[2:3])):
        choice = Choice(selection=selection, policy=Policy(percent=percent), tiers=Tiers(end))
        assert tuple(kind for kind in OFFERED if kind.lacking(layers, choice)) == wanted


def test_the_bar_is_as_wide_as_told() -> None:
    selection = Selection(model())
    layers = adapter_layers(selection)
    for percent, end in ((1, 1), (25, 50), (33, 100), (100, 100)):
        count = TIERS.count(
            Choice(selection=selection, policy=Policy(percent=percent), tiers=Tiers(end))
        )
        bar, legend = shares(layers, count, 71).plain.splitlines()
        assert len(bar) == 71 and bar == "".join(sorted(bar, key="█▓░".index))
        assert f"{count.high} high" in legend and "32 others carry no adapter" in legend


async def test_names_are_data(tmp_path: Path) -> None:
    odd = made.with_parameters(made.result(layers=4, model="a[/b][red]\x1b[31m"))
    app = Shown(results(tmp_path, odd))
    async with app.run_test(size=SIZE) as pilot:
        screen = await opened(pilot)
        title = screen.query_one("Vertical").border_subtitle
        assert title is not None and "\x1b" not in title
