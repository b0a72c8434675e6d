"""Every expert of a layer, from the results screen."""

from __future__ import annotations

from dataclasses import replace

from textual.app import App

from spectrum_tui.app.screens.experts import ExpertsScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from tests import made

PARTS = (("expert 0 gate", 0.5), ("expert 0 up", 2.0), ("expert 1 gate", float("inf")))


def with_parts() -> Result:
    """A made-up result whose first layer has three matrices."""
    result = made.result(layers=2, types=2)
    return replace(result, scores=made.ranked(result.scores, parts={0: PARTS}))


class Host(App[None]):
    """Shows the results screen."""

    def __init__(self) -> None:
        super().__init__()
        self.results = ResultsScreen(ResultState(with_parts(), Settings()))

    def on_mount(self) -> None:
        self.push_screen(self.results)


async def test_the_spread_stands_below_the_table_and_x_lists_every_expert() -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("t")
        details = app.results.views.pane.details(120).plain
        assert "mean of 3 matrices from 0.5000 to ∞" in details
        assert "3 × " in details
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, ExpertsScreen)
        lines = app.screen.lines
        rows = [lines.render_row(row, 60).text.split() for row in range(3)]
        assert [row[:3] for row in rows] == [
            ["expert", "0", "gate"],
            ["expert", "0", "up"],
            ["expert", "1", "gate"],
        ]
        assert [row[3] for row in rows] == ["0.5000", "2.0000", "∞"]
        await pilot.press("o")
        assert [label for label, _ in lines.parts] == [
            "expert 1 gate",
            "expert 0 up",
            "expert 0 gate",
        ]
        await pilot.press("escape")
        assert app.screen_stack[-1] is app.results


async def test_a_layer_of_one_matrix_has_no_list() -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("t", "down", "x")
        await pilot.pause()
        assert app.screen is app.results


async def test_the_list_follows_the_metric() -> None:
    app = Host()
    app.results = ResultsScreen(
        ResultState(made.with_metrics(with_parts()), Settings(metric="stable_rank"))
    )
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("t")
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, ExpertsScreen)
        lines = app.screen.lines
        assert "stable rank" in lines.render_header(0, 60).text
        values = [lines.render_row(row, 60).text.split()[3] for row in range(3)]
        assert values == ["0.5000", "4.0000", "∞"]


async def test_a_layers_name_is_never_markup() -> None:
    app = App[None]()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = ExpertsScreen("a[/b][red]", PARTS)
        await app.push_screen(screen)
        await pilot.pause()
        frame = screen.query_one("Vertical")
        assert frame._border_title is not None and frame._border_title.plain == "a[/b][red]"


async def test_x_lists_the_experts_of_the_cell_under_the_cursor() -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("right", "x")
        assert app.screen is app.results, "the layer beside has none"
        await pilot.press("left", "x")
        assert isinstance(app.screen, ExpertsScreen)
        assert app.screen.lines.parts == PARTS
