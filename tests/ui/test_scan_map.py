"""The scan screen as the map that fills: cells, words below them, and the way to the lists."""

from __future__ import annotations

from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from spectrum_tui.app.screens import scan as scan_screen
from spectrum_tui.app.widgets.scan_grid import ScanGrid
from spectrum_tui.app.widgets.scan_map import ScanMap
from spectrum_tui.app.widgets.scan_matrix import ScanMatrix
from spectrum_tui.core.events import LayerDone, LayerStarted, ScanEnded, ScanStarted
from tests.ui.test_scan_screen import NASTY, SIZE, TYPE, Host, lines
from tests.ui.worker_control import until

HEAD = "lm_head"


class MapHost(Host):
    """A scan that tells its layers."""

    def begin(self, layers: int = 10) -> None:
        self.progress.begin()
        self.progress.feed(
            ScanStarted(
                layers=layers + 1,
                cost=10.0 * layers + 10,
                types={TYPE: layers, HEAD: 1},
                device="cpu",
                batch_size=2,
                names=(*(f"model.layers.{i}.{TYPE}" for i in range(layers)), HEAD),
            )
        )

    def start(self, layer: str) -> None:
        self.progress.feed(LayerStarted(layer, TYPE, (8, 16), 10.0))

    @property
    def map(self) -> ScanMap:
        return self.scan.query_one(ScanMap)

    def words(self) -> list[str]:
        return str(self.map.query_one("#scan-foot", Static).content).split("\n")

    def line(self) -> str:
        """The line of the first type that has its words."""
        grid = self.map.grid
        return grid.render_line(grid.HEADER_LINES + grid.geometry.words).text

    def cells(self) -> str:
        """The cells on this line."""
        layout = self.map.grid.geometry
        return self.line()[layout.cells_at : layout.counts_at]


async def mapped(app: MapHost, pilot: Pilot[Any]) -> None:
    """Until the map is there and has taken in what had come."""

    def shows_all() -> bool:
        app.scan.poll()
        return bool(app.scan.query(ScanMap)) and app.map.taken == len(app.progress.scores(0))

    await until(pilot, shows_all)
    await until(pilot, lambda: app.map.grid.has_focus or app.scan.has_class("-over"))


@pytest.fixture
def app() -> MapHost:
    host = MapHost()
    host.begin()
    return host


async def test_a_poll_without_news_counts_nothing_again(
    app: MapHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[ScanMatrix] = []
    recount = ScanMatrix.recount

    def spy(matrix: ScanMatrix) -> None:
        counted.append(matrix)
        recount(matrix)

    monkeypatch.setattr(ScanMatrix, "recount", spy)
    async with app.run_test(size=SIZE) as pilot:
        app.done(0)
        await mapped(app, pilot)
        counted.clear()
        app.scan.poll()
        assert counted == []
        app.start(f"model.layers.1.{TYPE}")
        app.scan.poll()
        assert counted
        app.done(1)
        app.scan.poll()
        assert app.map.grid.selected.sum() == 2


async def test_cells_fill_as_scores_come(app: MapHost) -> None:
    app.done(0)
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        assert app.cells().split() == ["·"] * 9
        app.fail(f"model.layers.1.{TYPE}", "contains NaN")
        app.start(f"model.layers.2.{TYPE}")
        app.start(f"model.layers.9.{TYPE} [expert 3]")
        app.scan.poll()
        assert app.cells().split() == ["✗", "▸", *"······", "▸"]
        app.done(2)
        app.scan.poll()
        assert app.cells().split() == ["✗", *"······", "▸"]
        assert " 3/10 " in app.line()


async def test_a_cell_in_words(app: MapHost) -> None:
    app.done(0)
    app.fail(f"model.layers.1.{TYPE}", NASTY)
    app.start(f"model.layers.2.{TYPE}")
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        said = []
        for _ in range(4):
            said.append(app.words()[0].split("  ")[1])
            await pilot.press("right")
        assert said == ["SNR 1.5000", f"✗ {NASTY}", "▸ in progress", "· not yet"]
        assert app.words()[0].startswith(f"model.layers.4.{TYPE} ")
        app.done(4)
        app.scan.poll()
        assert app.words()[0].endswith("SNR 5.5000")


async def test_early_answers(app: MapHost) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await mapped(app, pilot)
        assert app.words()[1] == "0 of 2 types complete"
        for i in range(10):
            app.done(i)
        app.scan.poll()
        early, newest = app.words()[1:]
        assert early == f"1 of 2 types complete  its best  10.50 {TYPE} in block 9"
        assert newest.startswith("newest   10.50 9.down_proj   9.5000 8.down_proj")


async def test_early_answers_name_the_block_of_a_stage(app: MapHost) -> None:
    layer, kind = "encoder.layers.2.blocks.7.output.dense", "output.dense"
    started = ScanStarted(
        layers=1, cost=1.0, types={kind: 1}, device="cpu", batch_size=2, names=(layer,)
    )
    done = LayerDone(
        layer=layer,
        type=kind,
        shape=(8, 16),
        metrics={"spectrum": 2.5},
        cost=1.0,
        bytes=1,
        seconds=1.0,
    )
    app.progress.begin()
    app.progress.feed(started)
    app.progress.feed(done)
    async with app.run_test(size=(120, 40)) as pilot:
        await mapped(app, pilot)
        early, newest = app.words()[1:]
        assert early.endswith("2.5000 output.dense in block 7")
        assert newest.endswith("2.5000 7.dense")


async def test_the_lists_and_back(app: MapHost) -> None:
    app.done(0)
    app.fail("x", "y")
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        feed, types = app.scan.query_one("#scores"), app.scan.query_one("#types")

        def shown() -> list[bool]:
            return [view.is_on_screen for view in (app.map, types, feed)]

        assert shown() == [True, False, False]
        assert {"t", "m"} & set(app.keys()) == {"t"}
        await pilot.press("t")
        await until(pilot, lambda: shown() == [False, True, True])
        assert {"t", "m"} & set(app.keys()) == {"m"}
        await pilot.press("f")
        await until(pilot, lambda: shown() == [False, False, True])
        await pilot.press("m")
        await until(pilot, lambda: shown() == [True, False, False])
        await pilot.press("f")
        await until(pilot, lambda: shown() == [False, False, True])
        assert lines(app.scan._scores)[0].split() == ["✗", "x", "y"]
        await pilot.press("f")
        await until(pilot, lambda: shown() == [True, False, False])


async def test_a_scan_that_goes_on_keeps_the_place(app: MapHost) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        await pilot.press("right", "right")
        before = app.map
        app.progress.feed(ScanEnded("stopped", 0, 0))
        app.scan.poll()
        app.begin()
        app.scan.poll()
        await until(pilot, lambda: app.map is not before)
        await mapped(app, pilot)
        assert app.map.place == f"model.layers.2.{TYPE}"
        assert len(app.scan.query(ScanMap)) == 1


async def test_what_comes_all_at_once_is_taken_in_by_and_by(
    app: MapHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_screen, "AT_ONCE", 3)
    for i in range(10):
        app.done(i)
    app.progress.feed(ScanEnded("stopped", 10, 0))
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        assert app.map.taken == 10
        assert not app.cells().strip()


async def test_a_cell_of_several(app: MapHost) -> None:
    app.begin(layers=200)
    app.done(0)
    app.fail(f"model.layers.1.{TYPE}", "contains NaN")
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        assert app.words()[0].startswith(f"{TYPE}, block 0-")
        assert "1 of " in app.words()[0] and "✗ 1 failed" in app.words()[0]
        assert app.words()[0].endswith("mean SNR 1.5000")


async def test_the_mouse_only_looks_and_scrolls(app: MapHost) -> None:
    app.begin(layers=10)
    async with app.run_test(size=SIZE) as pilot:
        await mapped(app, pilot)
        grid = app.map.grid
        grid.styles.height = 2  # of two types, so that there is something to scroll to
        await pilot.pause()
        y = grid.HEADER_LINES
        x = [grid.geometry.span(column)[0] for column in (2, 6)]
        await pilot.mouse_down(ScanGrid, offset=(x[0], y))
        await pilot.hover(ScanGrid, offset=(x[1], y))
        assert app.mouse_captured is None
        place = (grid, 2, y, 0, 0, 0, False, False, False, grid.region.x + 2, grid.region.y + y)
        before = grid.scroll_offset.y
        assert before
        grid.post_message(events.MouseScrollUp(*place))
        await until(pilot, lambda: grid.scroll_offset.y < before)


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 40), (200, 50)])
async def test_nothing_is_cut_off(app: MapHost, size: tuple[int, int]) -> None:
    for i in range(8):
        app.start(f"model.layers.{i}.{TYPE}")
    async with app.run_test(size=size) as pilot:
        await mapped(app, pilot)
        regions = [app.map.grid.region, app.map.query_one("#scan-foot").region]
        assert all(region.height >= 2 for region in regions)
        assert all(app.map.region.contains_region(region) for region in regions)
        assert app.map.region.bottom < size[1]
