"""Where two selections differ: types by blocks, without a screen."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.comparison.compare import Comparison
from spectrum_tui.core.results.blocks import numbers_and_prefixes
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, FloatArray, IntArray

Cells = npt.NDArray[np.uint8]


NEAR, FAR = 0.05, 0.25
"""Shares of the places of a type: a rank that moved by less is called the same, by more far."""


class Where(IntEnum):
    """Which selection the layers of a cell are in, or where they rank in B against A; EMPTY where
    there is no layer, NEITHER also where none has a score in both."""

    EMPTY = 0
    NEITHER = 1
    BOTH = 2
    ONLY_A = 3
    ONLY_B = 4
    MIXED = 5
    SAME = 6
    HIGHER = 7
    LOWER = 8
    FAR_HIGHER = 9
    FAR_LOWER = 10


class Differences:
    """One row for each type that has numbered blocks, one column for each block.

    A cell of several layers (experts, neighbouring blocks in one) is BOTH, ONLY_A or ONLY_B where
    that is true of all of them that are selected.
    """

    def __init__(self, comparison: Comparison) -> None:
        a, b = comparison.a.scores, comparison.b.scores
        self._comparison = comparison
        self._pairs = comparison.pairs
        self._blocks_a, self._blocks_b = (numbers_and_prefixes(scores)[0] for scores in (a, b))
        self._blocks_b[self._pairs.b] = self._blocks_a[self._pairs.a]
        self._types_a, self._types_b = comparison.type_a, comparison.type_b
        numbers = np.concatenate([self._blocks_a, self._blocks_b])
        self.blocks = np.unique(numbers[numbers >= 0])
        """The numbers of the columns."""
        every = np.concatenate([self._types_a, self._types_b])
        self.types = np.unique(every[numbers >= 0])
        """The types of the rows, as places in `comparison.types`."""
        self.names = [comparison.types[place].name for place in self.types.tolist()]
        self._exists = self._marked(self._types_a, self._blocks_a) | self._marked(
            self._types_b, self._blocks_b
        )

    def cells(self, mask_a: BoolArray, mask_b: BoolArray, per_cell: int = 1) -> Cells:
        """Return a `Where` for each type and each `per_cell` blocks: (types, blocks / per_cell)."""
        both_a, both_b = np.zeros_like(mask_a), np.zeros_like(mask_b)
        shared = mask_a[self._pairs.a] & mask_b[self._pairs.b]
        both_a[self._pairs.a[shared]] = both_b[self._pairs.b[shared]] = True
        only_a = self._folded(self._of_a(mask_a & ~both_a), per_cell)
        only_b = self._folded(self._of_b(mask_b & ~both_b), per_cell)
        both = self._folded(self._of_a(both_a), per_cell)
        cells: Cells = np.where(self._folded(self._exists, per_cell), Where.NEITHER, Where.EMPTY)
        cells = cells.astype(np.uint8)
        for found, where in ((both, Where.BOTH), (only_a, Where.ONLY_A), (only_b, Where.ONLY_B)):
            cells[found] = where
        cells[both.astype(np.uint8) + only_a + only_b > 1] = Where.MIXED
        return cells

    def rank_cells(self, per_cell: int = 1) -> Cells:
        """Return how the ranks of each cell moved from A to B, in the mean of its layers."""
        fell = self._fell()
        known = ~np.isnan(fell) & (self._blocks_a >= 0)
        rows = np.searchsorted(self.types, self._types_a[known])
        columns = np.searchsorted(self.blocks, self._blocks_a[known]) // per_cell
        shape = (len(self.types), -(-len(self.blocks) // per_cell))
        total, count = np.zeros(shape), np.zeros(shape)
        np.add.at(total, (rows, columns), fell[known])
        np.add.at(count, (rows, columns), 1)
        mean = total / np.maximum(count, 1)
        cells: Cells = np.where(self._folded(self._exists, per_cell), Where.NEITHER, Where.EMPTY)
        cells = cells.astype(np.uint8)
        cells[count > 0] = Where.SAME
        for sign, moved, far in (
            (-1, Where.HIGHER, Where.FAR_HIGHER),
            (1, Where.LOWER, Where.FAR_LOWER),
        ):
            cells[sign * mean >= NEAR] = moved
            cells[sign * mean >= FAR] = far
        return cells

    def _fell(self) -> FloatArray:
        """Return per row of A by which share of its type's places it ranks lower in B; NaN without
        a rank in both."""
        a, b = self._comparison.a.scores.values, self._comparison.b.scores.values
        fell = np.full(len(a), np.nan)
        ranked = ~np.isnan(a[self._pairs.a]) & ~np.isnan(b[self._pairs.b])
        fell[self._pairs.a[ranked]] = 0.0
        for move in self._comparison.moves:
            fell[move.row_a] = move.by / (move.of - 1)
        return fell

    def _of_a(self, mask: BoolArray) -> BoolArray:
        return self._marked(self._types_a[mask], self._blocks_a[mask])

    def _of_b(self, mask: BoolArray) -> BoolArray:
        return self._marked(self._types_b[mask], self._blocks_b[mask])

    def _marked(self, types: IntArray, blocks: IntArray) -> BoolArray:
        """Return the cells of these layers, without those that lie in no block."""
        cells: BoolArray = np.zeros((len(self.types), len(self.blocks)), np.bool_)
        inside = blocks >= 0
        columns = np.searchsorted(self.blocks, blocks[inside])
        cells[np.searchsorted(self.types, types[inside]), columns] = True
        return cells

    def _folded(self, cells: BoolArray, per_cell: int) -> BoolArray:
        if per_cell == 1:
            return cells
        starts = np.arange(0, len(self.blocks), per_cell)
        return np.asarray(np.logical_or.reduceat(cells, starts, axis=1))


def shared_policy(comparison: Comparison, policy: Policy) -> Policy:
    """Return what selects in A the layers that the policy selects in both: A's others are
    banned."""
    mask_a, mask_b = comparison.masks(policy)
    in_both = np.zeros_like(mask_a)
    in_both[comparison.pairs.a] = mask_b[comparison.pairs.b]
    layers = comparison.a.scores.layers
    others = tuple(layers[row] for row in np.flatnonzero(mask_a & ~in_both).tolist())
    return replace(policy, bans=tuple(dict.fromkeys((*policy.bans, *others))))
