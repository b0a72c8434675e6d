"""The heat map under keys, mouse and a moving selection, with and without colours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import made

INF, NAN = float("inf"), float("nan")
HOSTILE = "a[/b][red]"


class Host(App[None]):
    def __init__(self, result: Result, percent: int = 50) -> None:
        super().__init__()
        self.selection = Selection(result)
        self.heatmap = Heatmap(self.selection)
        self.heatmap.show(self.selection, Policy(percent=percent))

    def compose(self) -> ComposeResult:
        yield self.heatmap

    def on_mount(self) -> None:
        self.heatmap.focus()

    @property
    def grid(self) -> HeatGrid:
        return self.heatmap.grid

    def row(self, row: int) -> str:
        return self.grid.render_line(row + 1).text

    def foot(self) -> list[str]:
        return self.heatmap.foot.render().plain.splitlines()

    def layer_name(self) -> str:
        """The name of the layer that the foot is about."""
        return self.foot()[1].partition(" · ")[0]


async def test_rows_axis_marks_and_counts() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        assert app.grid.has_focus
        assert app.grid.render_line(0).text.split() == ["layer", "0", "5", "10"]
        labels = [app.row(row).split()[0] for row in range(7)]
        assert labels[0] == "self_attn.k_proj"
        assert labels[4:] == ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"]
        for row in range(7):
            assert app.row(row).count("●") == 6
            assert app.row(row).rstrip().endswith("6/12")


async def test_a_mark_stands_on_every_selected_layer() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        matrix, mask = app.heatmap.matrix, app.selection.mask(Policy(percent=50))
        at = app.grid.geometry
        for row in range(7):
            cells = app.row(row)[at.cells_at : at.counts_at]
            marked = [cells[i * at.cell : (i + 1) * at.cell].strip() == "●" for i in range(12)]
            assert marked == [bool(mask[matrix.members(row, i)].all()) for i in range(12)]


async def test_colours_follow_the_values() -> None:
    app = Host(made.result(layers=12), percent=0)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        snr, at = app.heatmap.matrix.mean[4, :12], app.grid.geometry
        light = [_luminance(app, 4, at.cells_at + i * at.cell) for i in range(12)]
        assert light[int(snr.argmax())] == max(light)
        assert light[int(snr.argmin())] == min(light)


def _luminance(app: Host, row: int, x: int) -> float:
    segment = next(iter(app.grid.render_line(row + 1).crop(x, x + 1)))
    assert segment.style is not None
    assert segment.style.bgcolor is not None
    red, green, blue = segment.style.bgcolor.get_truecolor()
    return 0.3 * red + 0.59 * green + 0.11 * blue


async def test_cursor_keys_and_what_is_said_of_a_cell() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("right", "l", "right", "h", "down", "j", "up")
        await pilot.pause()
        assert app.grid.cell == (1, 2)
        title, facts = app.foot()[1:3]
        assert title == "model.layers.2.self_attn.o_proj · 4096 × 4096 · 16.8 M parameters"
        row = app.selection.result.scores.layers.index(title.partition(" ")[0])
        assert facts.startswith("SNR ")
        assert f"rank {app.selection.rank[row]} of 12" in facts
        assert ("● selected" in facts) == bool(app.selection.mask(Policy(percent=50))[row])
        await pilot.press("end", *["left"] * 20)
        assert app.grid.cell == (6, 0), "stops at the edges"
        await pilot.press(*["right"] * 20, "home")
        assert app.grid.cell == (0, 11)


async def test_what_is_said_follows_the_selection() -> None:
    app = Host(made.result(layers=12), percent=100)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        assert "● selected" in app.foot()[2]
        app.heatmap.show(app.selection, Policy(percent=0))
        assert "not selected" in app.foot()[2]


async def test_mouse_hovers_and_clicks() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        at = app.grid.geometry
        x = at.cells_at + 7 * at.cell
        await pilot.hover(HeatGrid, offset=(x, 4))
        await pilot.pause()
        assert app.layer_name() == "model.layers.7.self_attn.v_proj"
        assert app.grid.cell == (0, 0), "the pointer does not move the cursor"
        await pilot.hover(HeatGrid, offset=(2, 4))
        await pilot.pause()
        assert app.layer_name() == "model.layers.0.self_attn.k_proj"
        await pilot.click(HeatGrid, offset=(x, 5))
        await pilot.pause()
        assert app.grid.cell == (4, 7)
        await pilot.click(HeatGrid, offset=(2, 2))
        await pilot.pause()
        assert app.grid.cell == (1, 7), "a label moves to its row"


async def test_one_scale_for_all_types() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        before = [_luminance(app, row, app.grid.geometry.cells_at) for row in range(7)]
        assert "scale by type" in app.foot()[3]
        await pilot.press("x")
        await pilot.pause()
        assert "one scale" in app.foot()[3]
        after = [_luminance(app, row, app.grid.geometry.cells_at) for row in range(7)]
        assert after != before
        await pilot.press("x")
        assert [_luminance(app, row, app.grid.geometry.cells_at) for row in range(7)] == before


async def test_infinite_and_unscored_layers_have_their_own_signs() -> None:
    result = made.result(layers=12, snr={0: INF, 1: NAN}, failed={2: "NaN in the [matrix]"})
    app = Host(result, percent=10)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("down", "down", "down", "down")
        await pilot.pause()
        assert app.row(4).count("∞") == 1
        assert app.row(4).count("✗") == 2
        assert "●∞" in app.row(4)
        assert "∞ infinite" in app.foot()[3]
        assert "✗ no score" in app.foot()[3]
        assert "SNR ∞ · rank 1 of 11" in app.foot()[2]
        await pilot.press("right", "right")
        await pilot.pause()
        assert "no score: NaN in the [matrix]" in app.foot()[2]


async def test_a_layer_without_a_number_has_a_cell_of_its_own() -> None:
    result = made.result(layers=2, types=2, names={2: "lm_head", 3: HOSTILE})
    result.scores.type_names.extend(["lm_head", HOSTILE])
    result.scores.type_ids[2:] = [2, 3]
    app = Host(result)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        assert [app.row(row).split()[0] for row in range(3)] == [
            "mlp.down_proj",
            "lm_head",
            HOSTILE,
        ]
        await pilot.press("right", "down", "right", "right")
        await pilot.pause()
        assert app.grid.cell == (1, 2)
        assert app.layer_name() == "lm_head"
        await pilot.press("end")
        await pilot.pause()
        assert app.layer_name() == HOSTILE
        await pilot.press("home")
        assert app.grid.cell == (0, 1), "back on the layer it was on"
        at = app.grid.geometry
        await pilot.click(HeatGrid, offset=(at.label + 1, 2))
        assert app.grid.cell == (1, 2)


async def test_experts_share_a_row() -> None:
    app = Host(made.result(layers=6, types=7 + 3 * 16))
    async with app.run_test(size=(120, 24)) as pilot:
        await pilot.pause()
        assert app.grid.line_count == 10
        assert "mlp.experts.*.down_proj ×16" in app.row(7)
        assert app.row(7).rstrip().endswith("48/96")
        assert "◐ in part" in app.foot()[3]
        await pilot.press(*["down"] * 7)
        await pilot.pause()
        title, facts = app.foot()[1:3]
        assert title == "mlp.experts.*.down_proj ×16, layer 0"
        assert facts.startswith("mean SNR ")
        assert "of 16 selected" in facts


async def test_more_layers_than_columns_scroll_sideways() -> None:
    app = Host(made.result(layers=120, types=2))
    async with app.run_test(size=(60, 20)) as pilot:
        app.grid.column = 110
        await pilot.press(*["right"] * 9)
        await pilot.pause()
        assert app.layer_name() == "model.layers.119.mlp.down_proj"
        assert "119" in app.grid.render_line(0).text
        assert "‹" in app.grid.render_line(0).text
        assert app.grid._span(0, 119) is not None
        app.grid.column = 9
        await pilot.press(*["left"] * 9)
        await pilot.pause()
        assert app.grid._span(0, 0) is not None
        assert "‹" not in app.grid.render_line(0).text


async def test_a_step_repaints_only_the_cells_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host(made.result(layers=100, types=600), percent=50)
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.pause()
        painted: list[Region] = []
        repaint = HeatGrid.refresh

        def refresh(grid: HeatGrid, *regions: Region, **options: bool) -> HeatGrid:
            painted.extend(regions or [grid.region])
            return repaint(grid, *regions, **options)

        monkeypatch.setattr(HeatGrid, "refresh", refresh)
        old = app.grid.marks.copy()
        app.heatmap.show(app.selection, Policy(percent=51))
        changed = np.argwhere(old != app.grid.marks)
        at = app.grid.geometry
        assert 0 < len(changed) < 60
        cells = [r for r in painted if r.width == at.cell]
        assert len(cells) == len(changed)
        assert all(r.height == 1 for r in painted)
        painted.clear()
        app.heatmap.show(app.selection, Policy(percent=51))
        assert painted == [], "the same selection again is no work"
        app.heatmap.show(app.selection, Policy(percent=0))
        assert len(painted) == 1, "many changes are one repaint"


async def test_hidden_or_empty_maps_do_not_fail() -> None:
    app = Host(made.result(layers=0))
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.press("down", "right", "x", "end")
        app.heatmap.show(app.selection, Policy())
        await pilot.hover(HeatGrid, offset=(5, 1))
        assert app.foot()[1] == "No scores"
        app.heatmap.display = False
        await pilot.pause()
        app.heatmap.show(app.selection, Policy())


def _texts(app: Host, rows: Iterable[int]) -> list[str]:
    at = app.grid.geometry
    return [app.row(row)[at.cells_at : at.counts_at] for row in rows]


@pytest.mark.parametrize("why", ["no_color", "16 colours"])
async def test_without_colours_value_and_selection_are_both_seen(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "no_color":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.setenv("COLORTERM", "")
        monkeypatch.setenv("TERM", "linux")
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        assert not app.grid.in_colour
        matrix, mask = app.heatmap.matrix, app.selection.mask(Policy(percent=50))
        width = app.grid.geometry.cell
        assert width >= 2
        for row, text in enumerate(_texts(app, range(7))):
            cells = [text[i * width : (i + 1) * width] for i in range(12)]
            for i, cell in enumerate(cells):
                assert (cell[0] == "●") == bool(mask[matrix.members(row, i)][0])
                assert set(cell[1:]) <= set("░▒▓█")
            best = int(matrix.mean[row, :12].argmax())
            assert cells[best][1] == "█"


def _columns(app: Host) -> list[str]:
    """The chart of the row, top line first, one string a line."""
    profile, at = app.heatmap.profile, app.grid.geometry
    lines = [profile.render_line(y).text for y in range(2, profile.size.height)]
    return [line[at.cells_at : at.counts_at] for line in lines]


async def test_a_chart_of_the_row_where_there_is_room() -> None:
    app = Host(made.result(layers=12, snr={3: INF, 4: NAN}))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("down", "down", "down", "down")
        await pilot.pause()
        assert app.heatmap.profile.display
        lines, cell = _columns(app), app.grid.geometry.cell
        heights = [sum(line[i * cell] != " " for line in lines) for i in range(12)]
        snr = app.heatmap.matrix.mean[4, :12].copy()
        snr[3:5] = 0
        assert heights[int(snr.argmax())] == len(lines)
        assert [line[3 * cell] for line in lines] == ["∞"] * len(lines)
        assert [line[4 * cell] for line in lines] == [" "] * (len(lines) - 1) + ["✗"]
        before = lines
        await pilot.press("up")
        await pilot.pause()
        assert _columns(app) != before
        await pilot.resize_terminal(100, 14)
        await pilot.pause()
        assert not app.heatmap.profile.display, "the cells and the foot come first"
        assert app.grid.region.height == 8
        assert app.heatmap.foot.region.height == 4


async def test_the_chart_of_a_row_of_ones_and_of_a_single_cell() -> None:
    app = Host(made.result(layers=3, types=1, norms=True, names={0: "lm_head"}))
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(3):
            await pilot.press("down")
            await pilot.pause()
            assert len(_columns(app)) > 3
