"""Scores as a matrix of layer types by depth: what the heat map draws, without a screen."""

from __future__ import annotations

import copy
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spectrum_tui.app.widgets.marks import BY_HAND, Mark
from spectrum_tui.core.layer_types import Group, family, group_of, natural_key
from spectrum_tui.core.results.blocks import numbers_and_prefixes
from spectrum_tui.core.results.results import BoolArray, FloatArray, IntArray, Scores
from spectrum_tui.core.results.selection import HandArray

EIGHTHS = " ▁▂▃▄▅▆▇█"
LEVELS = 32
"""Steps of the ramp: in 256 colours the same to the eye as a continuous one."""


class Cell(IntEnum):
    """What stands in a cell."""

    EMPTY = 0
    NO_SCORE = 1
    INFINITE = 2
    VALUE = 3


class RowPercent(NamedTuple):
    """The percentage of a row as it is written, and whether its types have one of their own."""

    text: str = ""
    own: bool = False


class HeatMatrix:
    """One row per type, or per family of experts; one column per block number, or for several.

    `numbers` are the first block of every column, `ends` the last. The last column holds the
    layers outside of any block (`lm_head`): their rows are `single`.
    A cell of several layers stands for their mean, infinite only where all of them are.
    Types of the same name in several towers (an encoder and a decoder) get a row for each.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        number, prefix, prefixes = numbers_and_prefixes(scores)
        row_of_layer, labels, self._types_of_rows = _rows(scores, prefix, prefixes)
        self.numbers = self.ends = _columns(number)
        column = np.searchsorted(self.numbers, number)
        column[number < 0] = len(self.numbers)
        self._place(len(labels), row_of_layer, column)
        most = self.counts[:, :-1].max(axis=1, initial=0).tolist()  # experts of one layer
        self.labels = [f"{x} ×{n}" if n > 1 else x for x, n in zip(labels, most, strict=True)]
        self.layers_of_row: IntArray = self.counts.sum(axis=1)
        self.single: BoolArray = self.counts[:, :-1].sum(axis=1) == 0

    def _place(self, rows: int, row: IntArray, column: IntArray) -> None:
        """Put every layer into its cell."""
        self.map_shape = (rows, len(self.numbers) + 1)
        self._cell_of_layer: IntArray = row * self.map_shape[1] + column
        self.counts = self._counted(np.ones(len(self.scores), bool))
        self.mean, self.cells = self._means()
        self._by_cell = np.argsort(self._cell_of_layer, kind="stable")
        self._starts = np.searchsorted(
            self._cell_of_layer[self._by_cell], np.arange(self.map_shape[0] * self.map_shape[1] + 1)
        )

    def rescored(self, scores: Scores) -> HeatMatrix:
        """Return the same layers in the same cells with other scores: 2 ms at 60,000, of which a
        new matrix takes 300."""
        other = copy.copy(self)
        other.scores = scores
        other.mean, other.cells = other._means()
        return other

    def folded(self, fold: int) -> HeatMatrix:
        """Return the same layers with this many neighbouring blocks in every cell."""
        if fold == 1:
            return self
        other = copy.copy(self)
        blocks = len(self.numbers)
        first = np.arange(0, blocks, fold)
        other.numbers = self.numbers[first]
        other.ends = self.ends[np.minimum(first + fold, blocks) - 1]
        row, column = np.divmod(self._cell_of_layer, self.map_shape[1])
        outside = column == blocks
        other._place(self.map_shape[0], row, np.where(outside, len(first), column // fold))
        return other

    def block(self, column: int) -> str:
        """Return which blocks are in a column: `7`, or `6-7`."""
        first, last = self.numbers[column], self.ends[column]
        return str(first) if first == last else f"{first}-{last}"

    def block_of(self, layer: int) -> str:
        """Return the block of a row of the scores, "" outside of any."""
        _, column = self.cell_of(layer)
        return self.block(column) if column < len(self.numbers) else ""

    def selected(self, mask: BoolArray) -> IntArray:
        """Return how many layers of each cell are selected."""
        return self._counted(mask)

    def marks(self, selected: IntArray, hands: HandArray) -> npt.NDArray[np.uint8]:
        every = (selected == self.counts) & (selected > 0)
        marks: npt.NDArray[np.uint8] = np.where(selected > 0, Mark.PART, Mark.NONE).astype(np.uint8)
        marks[every] = Mark.ALL
        for hand, mark in BY_HAND.items():
            if (said := hands == hand).any():
                marks[(self._counted(said) == self.counts) & (self.counts > 0)] = mark
        return marks

    def members(self, row: int, column: int) -> IntArray:
        """Rows of the scores that stand in a cell, in file order."""
        cell = row * self.map_shape[1] + column
        return np.asarray(self._by_cell[self._starts[cell] : self._starts[cell + 1]])

    def cell_of(self, layer: int) -> tuple[int, int]:
        """Return the row and column in which a row of the scores stands."""
        row, column = divmod(int(self._cell_of_layer[layer]), self.map_shape[1])
        return row, column

    def types_of(self, row: int) -> list[int]:
        """Return the types in a row."""
        rows, types = self._types_of_rows
        return [int(kind) for kind in types[rows == row]]

    def percents(self, own: FloatArray, common: float | None) -> list[RowPercent]:
        """Return the percentage of every row: `25 `, `40*` where it is one of its own, `*` where
        its types differ. `own` is that of each type, NaN without one; `common` of all others,
        None where a rule over all types has their place."""
        rows, types = self._types_of_rows
        low, high = np.full(len(self.labels), np.inf), np.full(len(self.labels), -np.inf)
        of_pairs = np.nan_to_num(own, nan=-1.0)[types]
        np.minimum.at(low, rows, of_pairs)
        np.maximum.at(high, rows, of_pairs)
        shared = RowPercent("" if common is None else f"{common:g} ")
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return [_row_percent(least, most, shared) for least, most in pairs]

    def sparklines(self, width: int, tall: int) -> list[list[str]]:
        """Return the scores of every row over the depth as bars in so many columns and lines, the
        top line first: each is the mean of its blocks on the scale of the row, a blank where none
        of them has a score."""
        blocks = len(self.numbers)
        if not width or not len(self.labels):
            return [[""] * tall for _ in self.labels]
        starts = np.arange(width) * blocks // width
        levels = self.levels(one_scale=False)[:, :-1].astype(np.int64)
        cells = self.cells[:, :-1]
        levels[cells == Cell.INFINITE] = LEVELS - 1
        scored = cells >= Cell.INFINITE
        total = np.add.reduceat(np.where(scored, levels, 0), starts, axis=1)
        count = np.add.reduceat(scored.astype(np.int64), starts, axis=1)
        most = 8 * tall - (tall > 1)  # a gap to the row above
        high = np.where(count > 0, 1 + total * most // (np.maximum(count, 1) * LEVELS), 0)
        lines = [np.clip(high - 8 * below, 0, 8) for below in reversed(range(tall))]
        drawn = [["".join(map(EIGHTHS.__getitem__, row)) for row in one.tolist()] for one in lines]
        return [list(row) for row in zip(*drawn, strict=True)]

    def levels(self, *, one_scale: bool) -> npt.NDArray[np.uint8]:
        """Return the step of the ramp of every cell with a value: 0 low, LEVELS-1 high.

        Between the 2nd and the 98th percentile of each row, so that one outlier leaves the rest
        its colours; of the whole map with `one_scale`. A row of one value is in the middle.
        """
        values = np.where(self.cells == Cell.VALUE, self.mean, np.nan)
        low, high = (_bounds(values) if one_scale else _bounds_by_row(values))[:, :, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(high > low, (values - low) / (high - low), 0.5)
        return np.asarray(np.clip(np.nan_to_num(share) * LEVELS, 0, LEVELS - 1), np.uint8)

    def _counted(self, mask: BoolArray) -> IntArray:
        cells = self.map_shape[0] * self.map_shape[1]
        found = np.bincount(self._cell_of_layer[mask], minlength=cells)
        return found.astype(np.int64).reshape(self.map_shape)

    def _means(self) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        scores = self.scores.values
        finite = np.isfinite(scores)
        cells = self.map_shape[0] * self.map_shape[1]
        total = np.bincount(self._cell_of_layer[finite], weights=scores[finite], minlength=cells)
        values, infinite = self._counted(finite), self._counted(np.isposinf(scores))
        kinds = np.full(self.map_shape, Cell.EMPTY, np.uint8)
        kinds[self.counts > 0] = Cell.NO_SCORE
        kinds[infinite > 0] = Cell.INFINITE
        kinds[values > 0] = Cell.VALUE
        return total.reshape(self.map_shape) / np.maximum(values, 1), kinds


def _row_percent(least: float, most: float, shared: RowPercent) -> RowPercent:
    """Return that of a row whose types have these, -1 for the one that is shared."""
    if least != most:
        return RowPercent("*", own=True)
    return shared if least < 0 else RowPercent(f"{least:g}*", own=True)


def _columns(number: IntArray) -> IntArray:
    """Return the layer numbers of the columns: without gaps, unless the numbers are mostly gaps."""
    used = np.unique(number[number >= 0])
    if len(used) and used[-1] < 4 * len(used) + 16:
        return np.arange(used[-1] + 1)
    return used


def _rows(
    scores: Scores, prefix: IntArray, prefixes: list[str]
) -> tuple[IntArray, list[str], tuple[IntArray, IntArray]]:
    """Return the row of every layer, the rows' labels in the order of the layer tree, and which
    types are in which row, pair by pair."""
    pairs, pair_of_layer = np.unique(scores.type_ids * len(prefixes) + prefix, return_inverse=True)
    members: dict[tuple[str, str], set[int]] = {}
    keys = []
    for kind, tower in (divmod(pair, len(prefixes)) for pair in pairs.tolist()):
        keys.append((family(scores.type_names[kind]), prefixes[tower]))
        members.setdefault(keys[-1], set()).add(kind)
    names = {key: _name(key[0], kinds, scores.type_names) for key, kinds in members.items()}
    towers: dict[str, list[str]] = {}
    for (_, tower_name), name in names.items():
        towers.setdefault(name, []).append(tower_name)
    rank = {group: i for i, group in enumerate(Group)}
    order = sorted(members, key=lambda k: (rank[group_of(k[0])], natural_key(k[0]), k[1]))
    row_of = {key: row for row, key in enumerate(order)}
    labels = [_label(names[key], key[1], towers[names[key]]) for key in order]
    rows = np.array([row_of[key] for key in keys], np.int64)
    return rows[pair_of_layer], labels, (rows, pairs // len(prefixes))


def _name(family_name: str, kinds: set[int], type_names: list[str]) -> str:
    return type_names[next(iter(kinds))] if len(kinds) == 1 else family_name


def short_labels(labels: list[str]) -> list[str]:
    """Return as few last modules of every label as tell it from the others: `k_proj`."""
    names = [label.partition(" ×") for label in labels]  # not by the number of experts alone
    parts = [name.split(".") for name, _, _ in names]

    def short(own: list[str]) -> str:
        for size in range(1, len(own)):
            if sum(other[-size:] == own[-size:] for other in parts) == 1:
                return ".".join(own[-size:])
        return ".".join(own)

    return [f"{short(own)}{x}{n}" for own, (_, x, n) in zip(parts, names, strict=True)]


def _label(name: str, tower: str, towers: list[str]) -> str:
    return f"{_distinct(tower, towers)}: {name}" if len(towers) > 1 else name


def _distinct(tower: str, towers: list[str]) -> str:
    """Return what tells a tower from the others: their common beginning and end left out."""
    paths = [path.split(".") for path in towers]
    own = tower.split(".")
    shortest = min(map(len, paths))
    first = next((i for i in range(shortest) if len({p[i] for p in paths}) > 1), shortest)
    last = next((i for i in range(shortest - first) if len({p[-1 - i] for p in paths}) > 1), 0)
    return ".".join(own[first : len(own) - last]) or tower or "model"


def _bounds(values: FloatArray) -> FloatArray:
    """Return the two percentiles of the whole map, once for every row."""
    flat = values[np.isfinite(values)]
    low, high = np.percentile(flat, (2, 98)) if len(flat) else (0.0, 0.0)
    return np.full((2, len(values)), [[low], [high]])


def _bounds_by_row(values: FloatArray) -> FloatArray:
    return np.concatenate([_bounds(row[None, :]) for row in values] or [np.zeros((2, 0))], axis=1)
