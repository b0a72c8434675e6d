"""The heat map: every score at one glance, types by depth, with what is selected on top."""

from __future__ import annotations

from typing import Self

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.heat_foot import HeatFoot
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.heat_profile import MAX_HEIGHT, MIN_HEIGHT, HeatProfile
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection


class Heatmap(Vertical):
    """The grid; below it, what is known of one cell, and where there is room its whole row."""

    DEFAULT_CSS = "Heatmap { background: $surface; }"

    def __init__(self, selection: Selection, memory: TrainingMemory | None = None) -> None:
        super().__init__()
        self.matrix = HeatMatrix(selection.result.scores)
        self.grid = HeatGrid(self.matrix)
        self.grid.styles.max_height = len(self.matrix.labels) + HeatGrid.HEADER_LINES
        self.profile = HeatProfile(self.matrix, self.grid, selection.result.scores.metric)
        self.foot = HeatFoot(selection, self.matrix, self.grid, memory)

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.profile
        yield self.foot

    def focus(self, scroll_visible: bool = True) -> Self:
        self.grid.focus(scroll_visible)
        return self

    def _rank(self, selection: Selection) -> None:
        if selection is self.foot.selection:
            return
        self.matrix = self.matrix.rescored(selection.result.scores)
        self.grid.set_matrix(self.matrix)
        self.foot.set_selection(selection, self.matrix)
        self.profile.set_matrix(self.matrix, selection.result.scores.metric)

    def show(self, selection: Selection, policy: Policy) -> None:
        """Show what a policy selects, the layers ranked by another metric if they are not yet;
        only what changed is repainted."""
        self._rank(selection)
        mask, hands = selection.mask(policy), selection.by_hand(policy)
        row = self.profile.row
        before = self.grid.marks[row : row + 1]
        self.grid.set_mask(mask, hands)
        self.foot.set_mask(mask, hands, policy)
        if (before != self.grid.marks[row : row + 1]).any():
            self.profile.refresh()

    def set_embeddings(self, rows: BoolArray) -> None:
        """Mark these as embeddings and heads that train whatever their rank."""
        members = self.matrix.selected(rows)
        self.grid.set_embeddings((members > 0) & (members == self.matrix.counts))
        self.foot.set_embeddings(rows)

    def on_resize(self) -> None:
        """Give the profile what the grid leaves, or nothing where that is too little."""
        needed = len(self.matrix.labels) + HeatGrid.HEADER_LINES + self.foot.size.height
        room = min(MAX_HEIGHT, self.size.height - needed)
        self.profile.styles.height = room
        self.profile.display = room >= MIN_HEIGHT

    @on(HeatGrid.Moved)
    def _moved(self, event: HeatGrid.Moved) -> None:
        self.foot.cell = event.cell
        if event.cell is not None:
            self.profile.row = event.cell[0]
            self.profile.refresh()

    @on(HeatGrid.ScaleChanged)
    def _scale_changed(self, event: HeatGrid.ScaleChanged) -> None:
        event.stop()
        self.foot.refresh()
