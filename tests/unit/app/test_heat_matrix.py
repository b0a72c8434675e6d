"""Scores as a matrix: which cell a layer stands in, and what the cell is worth."""

from __future__ import annotations

import numpy as np
import pytest

from spectrum_tui.app.widgets.heat_layout import HeatLayout
from spectrum_tui.app.widgets.heat_matrix import LEVELS, Cell, HeatMatrix, short_labels
from spectrum_tui.app.widgets.heat_ramp import INKS, RAMP, contrast, density_of, luminance
from spectrum_tui.app.widgets.marks import BY_HAND, Mark
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.results.results import MetricColumn, Scores
from spectrum_tui.core.results.selection import Hand
from spectrum_tui.core.settings import METRIC

INF, NAN = float("inf"), float("nan")


def scores(pairs: list[tuple[str, float]]) -> Scores:
    types = list(dict.fromkeys(layer_type(name) for name, _ in pairs))
    nothing = np.zeros(len(pairs), np.int64)
    return Scores(
        layers=[name for name, _ in pairs],
        type_names=types,
        type_ids=np.array([types.index(layer_type(name)) for name, _ in pairs], np.int64),
        rows=nothing,
        columns=nothing,
        numel=nothing,
        parameters=[(f"{name}.weight",) for name, _ in pairs],
        metrics={METRIC: MetricColumn(np.array([value for _, value in pairs], np.float64))},
    )


def test_rows_in_tree_order_and_columns_by_layer_number() -> None:
    matrix = HeatMatrix(
        scores(
            [
                ("lm_head", 5.0),
                ("model.layers.0.mlp.down_proj", 1.0),
                ("model.layers.3.mlp.down_proj", 4.0),
                ("model.layers.3.self_attn.q_proj", 2.0),
            ]
        )
    )
    assert matrix.labels == ["self_attn.q_proj", "mlp.down_proj", "lm_head"]
    assert matrix.numbers.tolist() == [0, 1, 2, 3]
    assert matrix.single.tolist() == [False, False, True]
    assert matrix.cells[1].tolist() == [Cell.VALUE, 0, 0, Cell.VALUE, 0]
    assert matrix.mean[1, 3] == 4.0
    assert matrix.mean[2, 4] == 5.0
    assert matrix.members(0, 3).tolist() == [3]
    assert matrix.members(0, 0).tolist() == []


def test_experts_share_a_row_of_means() -> None:
    values = {0: 1.0, 1: 3.0, 2: INF, 10: NAN}
    pairs = [(f"model.layers.1.mlp.experts.{e}.up_proj", v) for e, v in values.items()]
    matrix = HeatMatrix(scores([*pairs, ("model.layers.0.mlp.experts.0.up_proj", INF)]))
    assert matrix.labels == ["mlp.experts.*.up_proj ×4"]
    assert matrix.mean[0, 1] == 2.0, "the mean of the finite ones"
    assert matrix.cells[0].tolist() == [Cell.INFINITE, Cell.VALUE, Cell.EMPTY]
    assert matrix.members(0, 1).tolist() == [0, 1, 2, 3]
    mask = np.array([True, False, False, False, True])
    selected = matrix.selected(mask)
    hands = np.zeros(5, np.uint8)
    assert matrix.marks(selected, hands)[0].tolist() == [Mark.ALL, Mark.PART, Mark.NONE]
    hands[:] = [Hand.PINNED, 0, 0, 0, Hand.BANNED]
    assert matrix.marks(selected, hands)[0].tolist() == [Mark.BANNED, Mark.PART, Mark.NONE]
    hands[:4] = Hand.PINNED
    assert matrix.marks(selected, hands)[0, 1] == Mark.PINNED


def test_towers_do_not_share_cells() -> None:
    pairs = [
        (f"model.{tower}.layers.{i}.self_attn.q_proj", float(i))
        for tower in ("vision.encoder", "language_model")
        for i in range(2)
    ]
    matrix = HeatMatrix(scores(pairs))
    assert matrix.labels == [
        "language_model: self_attn.q_proj",
        "vision.encoder: self_attn.q_proj",
    ]
    assert matrix.counts.max() == 1


def test_no_score_infinite_and_no_layer_are_told_apart() -> None:
    pairs = [(f"h.{i}.mlp.fc", value) for i, value in enumerate((NAN, INF, 0.5))]
    matrix = HeatMatrix(scores([*pairs, ("h.4.mlp.fc", 1.0)]))
    assert matrix.cells[0].tolist() == [
        Cell.NO_SCORE,
        Cell.INFINITE,
        Cell.VALUE,
        Cell.EMPTY,
        Cell.VALUE,
        Cell.EMPTY,
    ]


def test_scale_by_row_or_over_all() -> None:
    pairs = [(f"h.{i}.attn.q", i / 100) for i in range(50)]
    pairs += [(f"h.{i}.mlp.fc", 100.0 + i) for i in range(50)]
    matrix = HeatMatrix(scores(pairs))
    by_row = matrix.levels(one_scale=False)
    assert by_row[0, 0] == by_row[1, 0] == 0
    assert by_row[0, 49] == by_row[1, 49] == LEVELS - 1
    assert (np.diff(by_row[:, :-1].astype(int), axis=1) >= 0).all()
    over_all = matrix.levels(one_scale=True)
    assert over_all[0, :-1].max() < over_all[1, :-1].min()


def test_one_outlier_or_infinity_leaves_the_rest_its_colours() -> None:
    pairs = [(f"h.{i}.mlp.fc", float(i % 10)) for i in range(99)]
    levels = HeatMatrix(scores([*pairs, ("h.99.mlp.fc", 1e9)])).levels(one_scale=False)
    assert len(set(levels[0, :99].tolist())) == 10
    levels = HeatMatrix(scores([*pairs, ("h.99.mlp.fc", INF)])).levels(one_scale=False)
    assert len(set(levels[0, :99].tolist())) == 10


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [INF], [NAN], [INF, NAN]])
def test_rows_without_a_spread(values: list[float]) -> None:
    matrix = HeatMatrix(scores([(f"h.{i}.mlp.fc", v) for i, v in enumerate(values)]))
    for one_scale in (True, False):
        levels = matrix.levels(one_scale=one_scale)
        finite = matrix.cells == Cell.VALUE
        assert (levels[finite] == LEVELS // 2).all()


def test_no_scores_at_all() -> None:
    matrix = HeatMatrix(scores([]))
    assert matrix.labels == []
    assert matrix.levels(one_scale=True).shape == (0, 1)
    assert matrix.levels(one_scale=False).shape == (0, 1)


def test_numbers_with_large_gaps_and_absurd_ones() -> None:
    matrix = HeatMatrix(scores([("b.0.fc", 1.0), ("b.5000.fc", 2.0), (f"b.{'9' * 40}.fc", 3.0)]))
    assert matrix.numbers.tolist() == [0, 5000]
    assert matrix.counts.sum() == 3


def test_60_000_layers_are_all_in_some_cell() -> None:
    rng = np.random.default_rng(0)
    names = [f"m.{i}.mlp.experts.{e}.w{k}" for k in range(3) for e in range(400) for i in range(50)]
    matrix = HeatMatrix(scores_of_experts(names, rng.random(60_000)))
    assert matrix.map_shape == (3, 51)
    assert matrix.counts.sum() == 60_000
    mask = rng.random(60_000) < 0.3
    assert matrix.selected(mask).sum() == mask.sum()


def scores_of_experts(
    names: list[str], values: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Scores:
    types = {name: i for i, name in enumerate(dict.fromkeys(map(layer_type, names)))}
    ids = np.array([types[layer_type(name)] for name in names], np.int64)
    nothing = np.zeros(len(names), np.int64)
    parameters: list[tuple[str, ...]] = [(name,) for name in names]
    return Scores(
        layers=names,
        type_names=list(types),
        type_ids=ids,
        rows=nothing,
        columns=nothing,
        numel=nothing,
        parameters=parameters,
        metrics={METRIC: MetricColumn(values)},
    )


def test_ramp_rises_in_luminance_and_its_ink_is_readable() -> None:
    light = [luminance(colour) for colour in RAMP]
    assert light == sorted(light)
    assert len(set(light)) == LEVELS
    assert min(contrast(ink, ground) for ink, ground in zip(INKS, RAMP, strict=True)) > 4.5
    glyphs = [density_of(level) for level in range(LEVELS)]
    assert glyphs == sorted(glyphs, key="░▒▓█".index)
    assert set(glyphs) == set("░▒▓█")


def fit(
    width: int,
    blocks: int,
    *,
    low: int = 1,
    rows: int = 7,
    height: int = 30,
    percents: bool = True,
) -> HeatLayout:
    size = (width, height)
    return HeatLayout.of(
        size,
        label=16,
        short=9,
        percents=percents,
        rows=rows,
        blocks=blocks,
        counts=8,
        low=low,
    )


def test_cells_are_as_large_as_fits() -> None:
    assert fit(80, 6).cell_width == 8
    assert fit(120, 32).cell_width == 2
    assert (fit(80, 500).fold, fit(80, 500).columns) == (8, 63)
    assert [fit(80, 32, height=height).tall for height in (3, 13, 14, 21, 99)] == [1, 1, 2, 3, 5]
    for width in (40, 60, 80, 120, 160, 200):
        for blocks in (0, 1, 6, 28, 32, 80, 500):
            layout = fit(width, blocks)
            end = layout.counts_at + layout.counts
            assert end + (layout.spark and layout.spark + 1) <= width
            assert layout.columns * layout.fold >= blocks > (layout.columns - 1) * layout.fold
            if 28 <= blocks <= 80 <= width:
                used = end + layout.spark + 1
                assert used > width * 2 / 3, "no empty third"


@pytest.mark.parametrize("blocks", [28, 30, 32])
def test_names_are_short_where_that_widens_the_cells(blocks: int) -> None:
    layout = fit(78, blocks)
    assert (layout.cell_width, layout.fold, layout.short) == (2, 1, True)
    assert (layout.tall, layout.counts) == (4, 8 if blocks == 28 else 0), "below the names"
    assert not fit(120, blocks).short
    low = fit(78, blocks, height=7)
    assert low.counts == 8 and (low.cell_width == 2) is low.short is (blocks == 28), (
        "no line for them"
    )
    assert (fit(58, blocks).fold, fit(58, blocks).cell_width) == (1, 1)


def test_without_percentages_the_cells_have_their_room() -> None:
    assert fit(78, 32, height=7).cell_width == 1
    assert fit(78, 24, percents=False).cells_at == 17
    plain = fit(76, 28, height=7, percents=False)
    assert (plain.cell_width, plain.cells_at, plain.counts) == (2, 10, 8)


def test_short_names_tell_types_apart() -> None:
    labels = ["self_attn.k_proj", "mlp.c_proj", "attn.c_proj", "a: mlp.fc", "b: mlp.fc", "lm_head"]
    short = ["k_proj", "mlp.c_proj", "attn.c_proj", "a: mlp.fc", "b: mlp.fc", "lm_head"]
    assert short_labels(labels) == short
    experts = ["mlp.up_proj", "mlp.experts.*.up_proj ×16"]
    assert short_labels(experts) == ["mlp.up_proj", "*.up_proj ×16"]


def test_cells_of_three_columns_and_more_give_way_to_a_line_of_scores() -> None:
    assert (fit(117, 28).cell_width, fit(117, 28).spark) == (2, 28)
    assert (fit(120, 12).cell_width, fit(120, 12).spark) == (6, 12)
    assert fit(100, 32).spark == 0, "but those of two do not"


def test_axis_has_ticks_and_the_cursor() -> None:
    numbers = np.arange(32)
    narrow = fit(80, 32)
    text = "".join(narrow.axis(numbers, (7, "7")))
    assert text.rstrip() == "0         5   7     10        15        20        25        30"
    wide = fit(120, 32)
    before, here, _ = wide.axis(numbers, (11, "11"))
    assert (len(before), here) == (22, "11")
    assert "10" not in before, "a tick that touches the cursor's number is left out"
    assert "".join(wide.axis(numbers, None)).split() == ["0", "5", "10", "15", "20", "25", "30"]


def test_folded_cells_are_the_mean_of_their_blocks() -> None:
    pairs = [(f"h.{i}.mlp.fc", float(i)) for i in range(5)]
    pairs += [("h.0.attn.q", INF), ("h.1.attn.q", 3.0), ("h.3.attn.q", NAN), ("lm_head", 7.0)]
    whole = HeatMatrix(scores(pairs))
    matrix = whole.folded(2)
    assert [matrix.block(column) for column in range(3)] == ["0-1", "2-3", "4"]
    assert matrix.labels == whole.labels == ["attn.q", "mlp.fc", "lm_head"]
    assert matrix.mean[1].tolist() == [0.5, 2.5, 4.0, 0.0]
    assert matrix.cells[0].tolist() == [Cell.VALUE, Cell.NO_SCORE, Cell.EMPTY, Cell.EMPTY]
    assert matrix.mean[2, 3] == 7.0
    assert matrix.members(1, 1).tolist() == [2, 3]
    mask = np.array([True, True, True, False, False, False, False, False, False])
    marks = matrix.marks(matrix.selected(mask), np.zeros(9, np.uint8))
    assert marks[1].tolist() == [Mark.ALL, Mark.PART, Mark.NONE, Mark.NONE]
    other = matrix.rescored(scores([(name, -value) for name, value in pairs]))
    assert other.mean[1].tolist() == [-0.5, -2.5, -4.0, 0.0]


def test_lines_of_scores() -> None:
    pairs = [(f"h.{i}.mlp.fc", float(i)) for i in range(8)]
    pairs += [("h.0.attn.q", INF), ("h.1.attn.q", NAN), ("h.2.attn.q", 1.0), ("h.3.attn.q", 2.0)]
    matrix = HeatMatrix(scores(pairs))
    assert matrix.sparklines(8, 1) == [["█ ▁█    "], ["▁▂▃▄▅▆▇█"]]
    assert matrix.sparklines(4, 1)[1] == ["▁▃▆█"]
    (top, bottom) = matrix.sparklines(8, 2)[1]
    assert bottom == "▁▂▄▇████" and top == "    ▁▃▅▇"
    assert matrix.sparklines(0, 2) == [["", ""], ["", ""]]


def test_every_mark_is_told_apart_and_named() -> None:
    assert BY_HAND.keys() == set(Hand) - {Hand.NONE}
    assert len({mark.glyph for mark in Mark}) == len(Mark)
    assert all(mark.short for mark in Mark if mark is not Mark.NONE)
    assert all(mark.words for mark in BY_HAND.values())
