"""The heat map: every score at one glance, types by depth, with what is selected on top."""

from __future__ import annotations

from typing import Self

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.heat_foot import HeatFoot
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.shaping_grid import ShapingGrid
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection


class Heatmap(Vertical):
    """The grid, and below it what is known of one cell."""

    DEFAULT_CSS = "Heatmap { background: $surface; }"

    def __init__(self, selection: Selection, memory: TrainingMemory | None = None) -> None:
        super().__init__()
        self.matrix = HeatMatrix(selection.result.scores)
        self.grid = ShapingGrid(self.matrix)
        self.foot = HeatFoot(selection, self.grid, memory)

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.foot

    def focus(self, scroll_visible: bool = True) -> Self:
        self.grid.focus(scroll_visible)
        return self

    def _rank(self, selection: Selection) -> None:
        if selection is not self.foot.selection:
            self.matrix = self.matrix.rescored(selection.result.scores)
            self.grid.set_matrix(self.matrix)
            self.foot.set_selection(selection)

    def show(self, selection: Selection, policy: Policy) -> None:
        """Show what a policy selects, the layers ranked by another metric if they are not yet;
        only what changed is repainted."""
        self._rank(selection)
        mask, hands = selection.mask(policy), selection.by_hand(policy)
        percent = policy.percent if policy.is_per_type else None
        percents = self.matrix.percents(selection.own_percents(policy), percent)
        self.grid.set_mask(mask, hands, percents)
        self.foot.set_mask(mask, hands, policy)

    def set_embeddings(self, rows: BoolArray) -> None:
        """Mark these as embeddings and heads that train whatever their rank."""
        self.grid.set_embeddings(rows)
        self.foot.set_embeddings(rows)

    def on_resize(self) -> None:
        """Give the cells what the lines below them leave."""
        room = Size(self.size.width, self.size.height - self.foot.HEIGHT)
        self.foot.refresh()
        self.grid.styles.height = min(room.height, self.grid.fit(room))

    @on(HeatGrid.Moved)
    def _moved(self, event: HeatGrid.Moved) -> None:
        self.foot.cell = event.cell

    @on(HeatGrid.ScaleChanged)
    def _scale_changed(self, event: HeatGrid.ScaleChanged) -> None:
        event.stop()
        self.foot.refresh()
