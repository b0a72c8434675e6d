"""The score table: what a row says, how rows are ordered, and what a change repaints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip

from spectrum_tui.app.widgets.filter_line import FilterInput
from spectrum_tui.app.widgets.score_pane import ScorePane
from spectrum_tui.app.widgets.score_rows import ScoreRows, Sort
from spectrum_tui.app.widgets.score_table import ScoreTable, marked_bar
from spectrum_tui.core.layer_types import natural_key
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import made

INF, NAN = math.inf, math.nan
HOSTILE = "a[/b][red]"


class Host(App[None]):
    """The pane alone; notes which regions of the table are asked to be repainted."""

    def __init__(self, result: Result, percent: int = 50) -> None:
        super().__init__()
        self.selection = Selection(result)
        self.pane = ScorePane(self.selection)
        self.pane.show(self.selection, Policy(percent=percent))
        self.pane.set_embeddings(self.selection.head_rows(Policy()))

    def compose(self) -> ComposeResult:
        yield self.pane

    @property
    def table(self) -> ScoreTable:
        return self.pane.table

    def line(self, y: int) -> str:
        return self.table.render_line(y).text

    def shown(self) -> list[str]:
        """The layers in view, as they are ordered."""
        layers = self.table.scores.layers
        return [layers[self.table.order[row]] for row in self.table.visible_rows]


async def test_a_row_says_what_its_layer_is() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)):
        scores, selection = app.table.scores, app.selection
        for y in (1, 5, 12):
            row, line = y - 1, app.line(y)
            assert line.startswith("● " if selection.mask(Policy(percent=50))[row] else "· ")
            assert f" {selection.rank[row]}/32 " in line
            assert f"{scores.values[row]:.4f}" in line
            assert scores.layers[row] in line


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (60, ["SNR", "rank", "layer"]),
        (80, ["SNR", "rank", "layer"]),
        (120, ["SNR", "rank", "layer", "shape"]),
        (160, ["SNR", "rank", "layer", "type", "shape"]),
    ],
)
async def test_columns_follow_the_width_and_nothing_is_cut(width: int, titles: list[str]) -> None:
    app = Host(made.result(layers=32, types=40))
    async with app.run_test(size=(width, 24)):
        first, bar_title, *rest = app.table.columns(width - 1).values()
        assert first.title == ""
        assert len(bar_title.title) <= bar_title.width
        assert [column.title.strip() for column in rest] == titles
        assert app.line(0).split()[-len(titles) :] == titles
        assert all(app.table.render_line(y).cell_length == width - 1 for y in range(22))
        assert not app.table.show_horizontal_scrollbar


async def test_long_names_keep_their_end() -> None:
    name = "model.language_model.layers.0.block_sparse_moe." + "deep." * 10 + "mlp.down_proj"
    app = Host(made.result(layers=2, types=2, names={0: name}))
    async with app.run_test(size=(80, 24)):
        line = app.line(1).rstrip()
        assert "…" in line
        assert line.endswith("deep.mlp.down_proj")
        assert name in app.pane.details(200).plain


async def test_names_are_data() -> None:
    names = {0: HOSTILE, 1: "模型.层.1.mlp.down_proj", 2: "x\x1b[31m\ny"}
    app = Host(made.result(layers=3, types=1, names=names, failed={2: "[/b] \x1b[0m"}))
    async with app.run_test(size=(80, 24)) as pilot:
        assert HOSTILE in app.line(1)
        assert "模型" in app.line(2)
        assert "\x1b" not in app.line(3)
        for y in (1, 2, 3):
            assert app.table.render_line(y).cell_length == 79
            assert cell_len(app.line(y)) == 79
        app.table.focus()
        await pilot.press("down", "down")
        assert "\x1b" not in app.pane.details(80).plain


async def test_failed_layers_show_the_reason() -> None:
    app = Host(made.result(layers=4, types=1, failed={1: "not finite: 3 NaN"}))
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.line(2).startswith("✗ not finite: 3 NaN ")
        assert "model.layers.1.mlp.down_proj" in app.line(2)
        assert "/3" in app.line(1), "ranks count the layers that have a score"
        app.table.focus()
        await pilot.press("down")
        assert app.pane.details(80).plain.strip() == "not finite: 3 NaN"
        app.table.show(sort=Sort.SCORE)
        assert app.line(4).startswith("✗"), "last, whatever the direction"
        app.table.show(sort=Sort.SCORE, reverse=True)
        assert app.line(4).startswith("✗")


async def test_infinity_and_huge_scores_leave_the_other_bars_readable() -> None:
    app = Host(made.result(layers=12, types=1, snr={0: INF, 1: 1e25, 2: 3.0, 3: NAN}))
    async with app.run_test(size=(80, 24)):
        assert "∞" in app.line(1)
        assert "▒▒▒" in app.line(1)
        assert "1.0e25" in app.line(2)
        assert "▶" in app.line(2)
        assert app.line(3).count("█") > 3
        assert app.line(4).startswith("✗ no score")


def test_bars() -> None:
    assert marked_bar(0.5, 4) == "██  "
    assert marked_bar(1.0, 4) == "████"
    assert marked_bar(7.0, 4) == "███▶"
    assert marked_bar(INF, 4) == "▒▒▒▒"
    assert marked_bar(NAN, 4) == "    "


def test_each_type_has_its_own_scale() -> None:
    selection = Selection(made.result(layers=20, types=7))
    bars = ScoreRows(selection).bars.reshape(7, 20)
    highs = selection.result.scores.values.reshape(7, 20).max(axis=1)
    assert highs.max() / highs.min() > 100
    assert ((bars.max(axis=1) >= 1.0) & (bars.min(axis=1) < 0.7)).all()


def test_orders() -> None:
    result = made.result(layers=12, types=7, failed={5: "x"}, snr={7: INF})
    rows = ScoreRows(Selection(result))
    layers, snr = result.scores.layers, result.scores.values
    assert rows.ordered(Sort.FILE).tolist() == list(range(84))
    by_snr = snr[rows.ordered(Sort.SCORE)]
    assert by_snr[0] == INF
    assert (np.diff(by_snr[1:-1]) <= 0).all()
    assert math.isnan(by_snr[-1])
    assert (np.diff(snr[rows.ordered(Sort.SCORE, reverse=True)][:-2]) >= 0).all()
    names = [layers[i] for i in rows.ordered(Sort.NAME)]
    assert names == sorted(layers, key=natural_key)
    assert [layers[i] for i in rows.ordered(Sort.NAME, reverse=True)] == names[::-1]
    by_type = rows.ordered(Sort.TYPE)
    assert (np.diff(result.scores.type_ids[by_type[:-1]]) >= 0).all()
    assert rows.selection.rank[by_type[:3]].tolist() == [1, 2, 3]


async def test_sorted_otherwise_the_table_starts_at_its_top() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        table.focus()
        for sort in (Sort.SCORE, Sort.NAME, Sort.TYPE, Sort.FILE):
            await pilot.press(*["down"] * 30)
            table.action_sort()
            assert table.sort is sort
            assert (table.cursor, table.visible_rows.start) == (0, 0)
        table.action_reverse()
        assert table.order[0] == 223


async def test_filtered_the_cursor_stays_on_its_layer() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        table.focus()
        await pilot.press(*["down"] * 70)
        layer = table.current
        for text in ("up_proj", ""):
            table.show(containing=text)
            assert table.current == layer
            assert table.cursor in table.visible_rows


async def test_embeddings_and_head_are_marked_as_training() -> None:
    app = Host(made.result(layers=4, types=1, names={2: "lm_head"}, snr={2: 0.0}))
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.line(3).startswith("◆ ")
        app.table.focus()
        await pilot.press("down", "down")
        assert "trains with embeddings and head" in app.pane.details(80).plain
        frozen = Policy(percent=50, embeddings=False)
        app.pane.set_embeddings(app.selection.head_rows(frozen))
        app.pane.show(app.selection, frozen)
        assert app.line(3).startswith("· ")
        assert "frozen with embeddings and head (e)" in app.pane.details(80).plain
        app.pane.show(app.selection, Policy(percent=100))
        assert app.line(3).startswith("● ")


async def test_a_click_on_a_title_sorts_and_a_second_one_reverses() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(160, 24)) as pilot:
        for title, sort in (("SNR", Sort.SCORE), ("layer", Sort.NAME), ("type", Sort.TYPE)):
            x = app.line(0).rindex(title if title != "type" else " type ") + 1
            await pilot.click(ScoreTable, offset=(x, 0))
            assert (app.table.sort, app.table.reverse) == (sort, False)
            await pilot.click(ScoreTable, offset=(x, 0))
            assert (app.table.sort, app.table.reverse) == (sort, True)
        assert "type▼" in app.line(0)


async def test_a_click_moves_the_cursor() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.click(ScoreTable, offset=(30, 6))
        assert app.table.cursor == 5
        assert app.table.has_focus


async def test_filter_by_layer_or_type() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.filter.open()
        await pilot.press(*"V_PROJ")
        assert len(app.table.order) == 32
        assert all("v_proj" in layer for layer in app.shown())
        await pilot.press("enter")
        assert app.table.has_focus
        app.pane.filter.open()
        await pilot.press("end", *"zz")
        assert len(app.table.order) == 0
        assert "No layer" in app.pane.details(80).plain
        assert app.line(1).strip() == ""
        await pilot.press("escape")
        assert len(app.table.order) == 224
        assert not app.pane.filter.is_open
        app.pane.filter.open()
        await pilot.press(*"layers.7.")
        assert len(app.table.order) == 7


async def test_the_keys_of_an_empty_table_do_nothing() -> None:
    app = Host(made.result(layers=3, types=1))
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(containing="nothing has this")
        app.table.focus()
        await pilot.press("down", "up", "pagedown", "end", "home")
        app.table.action_jump(1)
        app.table.action_sort()
        assert app.table.current is None


async def test_jump_goes_round_the_selected_layers() -> None:
    app = Host(made.result(layers=32, types=1), percent=10)
    async with app.run_test(size=(80, 12)) as pilot:
        table = app.table
        selected = np.flatnonzero(app.selection.mask(Policy(percent=10))).tolist()
        seen = []
        for _ in range(4):
            table.action_jump(1)
            seen.append(table.cursor)
        assert seen == [*selected, selected[0]]
        table.action_jump(-1)
        await pilot.pause()
        assert table.cursor == selected[-1]
        assert table.cursor in table.visible_rows


async def test_a_new_mask_repaints_only_the_rows_that_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        asked: list[Region] = []
        monkeypatch.setattr(app.table, "refresh", lambda *regions: asked.extend(regions))
        old, new = app.selection.mask(Policy(percent=50)), app.selection.mask(Policy(percent=60))
        app.pane.show(app.selection, Policy(percent=60))
        changed = [row + 1 for row in range(22) if old[row] != new[row]]
        assert sorted(region.y for region in asked) == changed
        assert 0 < len(changed) < 22
        asked.clear()
        app.pane.show(app.selection, Policy(percent=60))
        assert asked == []


async def test_sixty_thousand_rows_build_only_what_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Host(made.result(layers=60, types=1000))
    async with app.run_test(size=(120, 40)) as pilot:
        table = app.table
        built: list[int] = []
        render_row = table.render_row

        def counted(row: int, width: int) -> Strip:
            built.append(row)
            return render_row(row, width)

        monkeypatch.setattr(table, "render_row", counted)
        table.focus()
        await pilot.press("end")
        assert table.cursor == 59_999
        assert app.shown()[-1] == table.scores.layers[-1]
        await pilot.press("pageup", "g", "pagedown", "ctrl+d", "k", "j")
        assert len(built) < 6 * 45


async def test_resize_keeps_the_cursor_in_view() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(120, 40)) as pilot:
        app.table.focus()
        await pilot.press(*["down"] * 30)
        await pilot.resize_terminal(80, 12)
        await pilot.pause()
        assert app.table.cursor == 30
        assert 30 in app.table.visible_rows


async def test_the_theme_changes_the_colours_of_rows() -> None:
    app = Host(made.result(layers=3))
    async with app.run_test(size=(80, 24)) as pilot:
        before = app.table.render_line(2)
        app.theme = "textual-light"
        await pilot.pause()
        after = app.table.render_line(2)
        assert before.text == after.text
        assert before != after


async def test_filter_keys_are_explained() -> None:
    for binding in FilterInput.BINDINGS:
        assert not isinstance(binding, tuple)
        assert binding.description
        assert binding.tooltip
