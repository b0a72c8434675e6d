"""The heat map under keys, mouse and a moving selection, with and without colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.core import numbers
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

    def y(self, row: int, line: int | None = None) -> int:
        """Where a line of a row is drawn, without one that with its words."""
        at = self.grid.geometry
        return 1 + row * at.tall + (at.words if line is None else line)

    def row(self, row: int, line: int | None = None) -> str:
        return self.grid.render_line(self.y(row, line)).text

    def cells(self, row: int, line: int | None = None) -> str:
        at = self.grid.geometry
        return self.row(row, line)[at.cells_at : at.counts_at]

    def x(self, column: int) -> int:
        return self.grid.geometry.span(column)[0]

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
        axis = app.grid.render_line(0).text
        assert axis.split() == ["block", "top", "%", *map(str, range(12)), "chosen", "SNR"]
        labels = [app.row(row).split()[0] for row in range(7)]
        assert labels[0] == "self_attn.k_proj"
        assert labels[4:] == ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"]
        for row in range(7):
            assert app.cells(row).count("●") == 6
            assert app.row(row).split()[1] == "50"
            assert " 6/12 " in app.row(row)[app.grid.geometry.counts_at :]


async def test_a_mark_stands_on_every_selected_layer() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        matrix, mask = app.heatmap.matrix, app.selection.mask(Policy(percent=50))
        width = app.grid.geometry.cell_width
        for row in range(7):
            cells = app.cells(row)
            marked = [cells[i * width : (i + 1) * width].strip() == "●" for i in range(12)]
            assert marked == [bool(mask[matrix.members(row, i)].all()) for i in range(12)]
            assert app.grid.geometry.tall == 2
            assert app.cells(row, 1).strip() == ""


@pytest.mark.parametrize(
    ("size", "cell", "fold", "tall"),
    [
        ((80, 24), 2, 1, 2),
        ((120, 40), 2, 1, 5),
        ((200, 50), 5, 1, 5),
        ((80, 10), 1, 1, 1),
    ],
)
async def test_cells_fill_the_room_and_the_cursor_stays_on_its_block(
    size: tuple[int, int], cell: int, fold: int, tall: int
) -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("down", *["right"] * 9)
        await pilot.resize_terminal(*size)
        await pilot.pause()
        at = app.grid.geometry
        assert (at.cell_width, at.fold, at.tall) == (cell, fold, tall)
        assert app.layer_name() == "model.layers.9.self_attn.o_proj"
        assert app.grid.region.height == min(1 + 7 * tall, size[1] - 4)
        assert app.grid.region.bottom == app.heatmap.foot.region.y


async def test_blocks_that_do_not_fit_share_cells() -> None:
    app = Host(made.result(layers=120, types=2), percent=50)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*["right"] * 5)
        await pilot.pause()
        axis = app.grid.render_line(0).text
        assert "2 blocks/cell " in axis
        assert " 10-11 " in axis
        assert app.foot()[1] == "mlp.down_proj, blocks 10-11 · 2 layers · 117 M parameters"
        assert " of 2 selected" in app.foot()[2]
        assert app.grid.cursor_rows == [10, 11]
        mask = app.selection.mask(Policy(percent=50))
        parts = mask[:120].reshape(60, 2).sum(axis=1).tolist()
        assert app.cells(0) == "".join(" ◐●"[n] for n in parts)
        await pilot.resize_terminal(180, 24)
        await pilot.pause()
        assert app.layer_name() == "model.layers.10.mlp.down_proj", "on the first of these blocks"
        assert app.cells(0) == "".join(" ●"[int(on)] for on in mask[:120])


async def test_colours_follow_the_values() -> None:
    app = Host(made.result(layers=12), percent=0)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        snr = app.heatmap.matrix.mean[4, :12]
        light = [_luminance(app, 4, app.x(i)) for i in range(12)]
        assert light[int(snr.argmax())] == max(light)
        assert light[int(snr.argmin())] == min(light)


def _luminance(app: Host, row: int, x: int) -> float:
    segment = next(iter(app.grid.render_line(app.y(row)).crop(x, x + 1)))
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
        x = app.x(7)
        await pilot.hover(HeatGrid, offset=(x, app.y(3)))
        await pilot.pause()
        assert app.layer_name() == "model.layers.7.self_attn.v_proj"
        assert app.grid.cell == (0, 0), "the pointer does not move the cursor"
        await pilot.hover(HeatGrid, offset=(2, app.y(3)))
        await pilot.pause()
        assert app.layer_name() == "model.layers.0.self_attn.k_proj"
        await pilot.click(HeatGrid, offset=(x, app.y(4, 1)))
        await pilot.pause()
        assert app.grid.cell == (4, 7)
        await pilot.click(HeatGrid, offset=(2, app.y(1)))
        await pilot.pause()
        assert app.grid.cell == (1, 7), "a label moves to its row"


async def test_one_scale_for_all_types() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        before = [_luminance(app, row, app.x(1)) for row in range(7)]
        assert "scale by type" in app.foot()[3]
        await pilot.press("r")
        await pilot.pause()
        assert "one scale" in app.foot()[3]
        after = [_luminance(app, row, app.x(1)) for row in range(7)]
        assert after != before
        await pilot.press("r")
        assert [_luminance(app, row, app.x(1)) for row in range(7)] == before


async def test_infinite_and_unscored_layers_have_their_own_signs() -> None:
    result = made.result(layers=12, snr={0: INF, 1: NAN}, failed={2: "NaN in the [matrix]"})
    app = Host(result, percent=10)
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("down", "down", "down", "down")
        await pilot.pause()
        assert app.row(4).count("∞") == 1
        assert app.row(4).count("✗") == 2
        assert "●∞" in app.cells(4)
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
        app.heatmap.show(app.selection, Policy(percent=100))
        assert app.cells(1).split() == ["●", numbers.score(float(result.scores.values[2]))]
        await pilot.click(HeatGrid, offset=(app.x(2), app.y(1)))
        assert app.grid.cell == (1, 2)


async def test_experts_share_a_row() -> None:
    app = Host(made.result(layers=6, types=7 + 3 * 16))
    async with app.run_test(size=(120, 24)) as pilot:
        await pilot.pause()
        assert app.grid.line_count == 10
        assert "mlp.experts.*.down_proj ×16" in app.row(7)
        assert app.row(7).rstrip().endswith("48/96")
        assert app.row(7).split()[2] == "50"
        assert "◐ in part" in app.foot()[3]
        await pilot.press(*["down"] * 7)
        await pilot.pause()
        title, facts = app.foot()[1:3]
        assert title == "mlp.experts.*.down_proj ×16, block 0 · 16 layers · 126 M parameters"
        assert facts.startswith("mean SNR ")
        assert "of 16 selected" in facts


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
        cells = [r for r in painted if r.width == at.cell_width]
        assert len(cells) == len(changed)
        percents = [r for r in painted if (r.x, r.width) == (at.label, at.percent)]
        assert len(percents) == app.grid.line_count
        assert all(r.height == 1 for r in painted), "the colours below stay"
        painted.clear()
        app.heatmap.show(app.selection, Policy(percent=51))
        assert painted == [], "the same selection again is no work"
        app.heatmap.show(app.selection, Policy(percent=0))
        assert len(painted) == app.grid.line_count, "many changes are a line of each type"
        painted.clear()
        app.heatmap.show(app.selection, Policy(percent=50, blocks=((50, None),)))
        assert len(painted) == 1, "where cells are hatched, everything"


async def test_hidden_or_empty_maps_do_not_fail() -> None:
    app = Host(made.result(layers=0))
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.press("down", "right", "r", "end")
        app.heatmap.show(app.selection, Policy())
        await pilot.hover(HeatGrid, offset=(5, 1))
        assert app.foot()[1] == "No scores"
        app.heatmap.display = False
        await pilot.pause()
        app.heatmap.show(app.selection, Policy())


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
        width = app.grid.geometry.cell_width
        assert width >= 2
        for row in range(7):
            text, below = app.cells(row), app.cells(row, 1)
            cells = [text[i * width : (i + 1) * width] for i in range(12)]
            for i, cell in enumerate(cells):
                assert (cell[0] == "●") == bool(mask[matrix.members(row, i)][0])
                assert set(cell[1:]) <= set("░▒▓█")
                assert below[i * width : (i + 1) * width] == cell[1] * width
            best = int(matrix.mean[row, :12].argmax())
            assert cells[best][1] == "█"
        await pilot.resize_terminal(70, 24)
        app.heatmap.show(app.selection, Policy(percent=50, blocks=((4, None),)))
        await pilot.pause()
        assert all(set(app.cells(row)[: 2 * 4 : 2]) == {"╱"} for row in range(7))


async def test_blocks_share_cells_sooner_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Host(made.result(layers=48))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert (app.grid.geometry.cell_width, app.grid.geometry.fold) == (2, 2)


async def test_counts_stand_below_short_names_and_follow() -> None:
    app = Host(made.result(layers=32), percent=25)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        at = app.grid.geometry
        assert (at.cell_width, at.fold, at.tall, at.counts) == (2, 1, 2, 0)
        assert app.row(0)[: at.cells_at] == "   k_proj  25 "
        assert app.row(0, 1)[: at.cells_at].split() == ["8/32"]
        painted: list[Region] = []
        app.grid.refresh = lambda *regions, **_: painted.extend(regions)  # type: ignore[assignment]
        app.heatmap.show(app.selection, Policy(percent=28))
        assert app.row(0, 1)[: at.cells_at].split() == ["8/32"]
        app.heatmap.show(app.selection, Policy(percent=50))
        assert app.row(0, 1)[: at.cells_at].split() == ["16/32"]
        assert painted, "and it is repainted"


@pytest.mark.parametrize(("layers", "width"), [(28, 80), (32, 80), (28, 120), (40, 80)])
async def test_the_titles_stand_over_what_they_are_of(layers: int, width: int) -> None:
    app = Host(made.result(layers=layers))
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        at, header = app.grid.geometry, app.grid.render_line(0).text
        assert header[at.cells_at : at.cells_at + 2] == "0 "
        assert not at.counts or header[: at.counts_at + at.counts].endswith(" chosen")


def _sparks(app: Host, row: int) -> list[str]:
    at = app.grid.geometry
    return [app.row(row, line)[at.counts_at + at.counts + 1 :] for line in range(at.tall)]


async def test_a_line_of_scores_where_there_is_room() -> None:
    app = Host(made.result(layers=12, snr={3: INF, 4: NAN}))
    async with app.run_test(size=(200, 30)) as pilot:
        await pilot.pause()
        at = app.grid.geometry
        assert (at.spark, at.tall) == (12, 3)
        lines = _sparks(app, 4)
        heights = [sum(" ▁▂▃▄▅▆▇█".index(line[i]) for line in lines) for i in range(12)]
        values = app.heatmap.matrix.mean[4, :12].copy()
        values[3] = values.max() + 1
        assert heights[4] == 0, "no score, no bar"
        scored = [i for i in range(12) if i != 4]
        order = sorted(scored, key=lambda i: values[i])
        assert [heights[i] for i in order] == sorted(heights[i] for i in scored)
        assert max(heights) > 16 and min(heights[i] for i in scored) == 1
        await pilot.resize_terminal(60, 30)
        await pilot.pause()
        assert not app.grid.geometry.spark


async def test_the_percentages_of_types() -> None:
    app = Host(made.result(layers=12, types=9))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        own = (("mlp.down_proj", 40), ("self_attn.*", 12.5))
        app.heatmap.show(app.selection, Policy(percent=50, type_percents=own))
        texts = dict(zip(app.heatmap.matrix.labels, percents_of(app), strict=True))
        assert texts["mlp.down_proj"] == "40*"
        assert texts["self_attn.q_proj"] == "12.5*"
        assert texts["mlp.up_proj"] == "50 "
        assert app.row(0).split()[1] == "12.5*"
        ranked = Policy(percent=50, rule="global-rank", type_percents=own[:1])
        app.heatmap.show(app.selection, ranked)
        texts = dict(zip(app.heatmap.matrix.labels, percents_of(app), strict=True))
        assert (texts["mlp.down_proj"], texts["mlp.up_proj"]) == ("40*", "")


async def test_a_family_whose_types_differ_has_no_one_percentage() -> None:
    app = Host(made.result(layers=4, types=7 + 3 * 2))
    own = (("mlp.experts.1.down_proj", 40),)
    app.heatmap.show(app.selection, Policy(percent=50, type_percents=own))
    texts = dict(zip(app.heatmap.matrix.labels, percents_of(app), strict=True))
    assert texts["mlp.experts.*.down_proj ×2"] == "*"
    assert texts["mlp.experts.*.gate_proj ×2"] == "50 "


def percents_of(app: Host) -> list[str]:
    return [percent.text for percent in app.grid.percents]


def _ranked(app: Host) -> list[str]:
    """What the lines below the map say of the layers of a type: mark, block and score."""
    _, title, *lines = app.heatmap.ranks.render().plain.splitlines()
    assert title == f"{app.layer_name().split('.', 3)[3]} by rank: block and SNR"
    found = re.findall(r"(● )?\s*(\d+ \S+)", "\n".join(lines))
    return [f"{mark}{text}" for mark, text in found]


async def test_the_type_under_the_cursor_stands_by_rank_where_the_map_leaves_room() -> None:
    app = Host(made.result(layers=12, sizes=False, failed={1: "holds NaN"}), percent=25)
    async with app.run_test(size=(100, 38)) as pilot:
        await pilot.pause()
        assert app.heatmap.ranks.region.bottom == app.heatmap.region.bottom
        for _ in range(2):
            row = int(app.heatmap.foot.members[0])
            scores = app.selection.result.scores
            rows = np.flatnonzero(scores.type_ids == scores.type_ids[row])
            ranked = np.argsort(-scores.values[rows])
            order = [at for at in ranked.tolist() if int(rows[at]) not in scores.problems]
            wanted = [f"{at} {numbers.score(float(scores.values[rows[at]]))}" for at in order]
            chosen = app.selection.mask(Policy(percent=25))[rows]
            assert _ranked(app) == [
                f"● {text}" if chosen[at] else text for at, text in zip(order, wanted, strict=True)
            ]
            await pilot.press(*["down"] * 5, "right")
        app.heatmap.show(app.selection, Policy(percent=100))
        assert all(text.startswith("● ") for text in _ranked(app))
        await pilot.resize_terminal(100, 14)
        await pilot.pause()
        assert not app.heatmap.ranks.display
