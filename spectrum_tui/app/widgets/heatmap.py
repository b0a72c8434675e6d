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
from spectrum_tui.app.widgets.heat_layout import MAX_TALL
from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.shaping_grid import ShapingGrid
from spectrum_tui.app.widgets.spectrum_line import ROOMY, SpectrumLine
from spectrum_tui.app.widgets.type_ranks import LEAST, TypeRanks
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.kept_spectra import LayerSpectra

TALL = 3
"""Lines of a type up to which cells go before the singular values below the map."""
ENOUGH, MOST = 8, 20
"""Lines of singular values from which cells grow beyond that, and the most that they have."""


class Heatmap(Vertical):
    """The grid; below it what is known of one cell, its singular values, or its type by rank."""

    DEFAULT_CSS = """
    Heatmap { background: $surface; & > SpectrumLine { padding: 0; } }
    """

    def __init__(
        self,
        selection: Selection,
        memory: TrainingMemory | None = None,
        spectra: LayerSpectra | None = None,
    ) -> None:
        """`memory` is what training takes, where that can be known; `spectra` are shared with
        other views."""
        super().__init__()
        self.matrix = HeatMatrix(selection.result.scores)
        self.grid = ShapingGrid(self.matrix)
        self.foot = HeatFoot(selection, self.grid, memory)
        self.spectrum = SpectrumLine(spectra or LayerSpectra(selection.result))
        self.ranks = TypeRanks(selection, self.matrix)

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.foot
        yield self.spectrum
        yield self.ranks

    def focus(self, scroll_visible: bool = True) -> Self:
        self.grid.focus(scroll_visible)
        return self

    def _rank(self, selection: Selection) -> None:
        if selection is not self.foot.selection:
            self.matrix = self.matrix.rescored(selection.result.scores)
            self.grid.set_matrix(self.matrix)
            self.foot.set_selection(selection)
            self.ranks.set_matrix(selection, self.matrix)

    def show(self, selection: Selection, policy: Policy) -> None:
        """Show what a policy selects, the layers ranked by another metric if they are not yet;
        only what changed is repainted."""
        self._rank(selection)
        mask, hands = selection.mask(policy), selection.by_hand(policy)
        percent = policy.percent if policy.is_per_type else None
        percents = self.matrix.percents(selection.own_percents(policy), percent)
        self.grid.set_mask(mask, hands, percents)
        self.foot.set_mask(mask, hands, policy)
        self.ranks.set_mask(mask)

    def set_embeddings(self, rows: BoolArray) -> None:
        """Mark these as embeddings and heads that train whatever their rank."""
        self.grid.set_embeddings(rows)
        self.foot.set_embeddings(rows)

    def on_resize(self) -> None:
        """Share the room between the cells and the singular values, or what of it no cells can
        have and the ranks of a type."""
        lines = self.size.height - self.foot.HEIGHT
        below = self._spectrum_lines(lines - self.grid.HEADER_LINES)
        self.spectrum.styles.height = below
        self.spectrum.display = below > 0
        room = Size(self.size.width, lines - below)
        self.foot.refresh()
        height = min(room.height, self.grid.fit(room))
        self.grid.styles.height = height
        self.ranks.styles.height = max(1, room.height - height)
        self.ranks.display = room.height - height >= LEAST

    def _spectrum_lines(self, lines: int) -> int:
        """Return how many of the lines for the types have singular values instead: none where none
        were kept."""
        if not self.spectrum.spectra.possible:
            return 0
        types = max(1, self.grid.line_count)
        tall = max(min(TALL, lines // types), min(MAX_TALL, (lines - ENOUGH) // types), 1)
        return min(MOST, max(lines - tall * types, int(self.screen.size.height >= ROOMY)))

    @on(HeatGrid.Moved)
    def _moved(self, event: HeatGrid.Moved) -> None:
        self.foot.cell = event.cell
        rows = self.foot.members
        self.ranks.look_at(int(rows[0]) if len(rows) else None)

    @on(HeatGrid.ScaleChanged)
    def _scale_changed(self, event: HeatGrid.ScaleChanged) -> None:
        event.stop()
        self.foot.refresh()
