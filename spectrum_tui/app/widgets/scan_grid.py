"""The heat map of a running scan: colours come as scores do, marks say what is not there yet."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.style import Style
from textual.binding import BindingType

from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import Cell
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.marks import Mark, Sign
from spectrum_tui.app.widgets.scan_matrix import ScanMatrix, Stage


class ScanGrid(HeatGrid, inherit_bindings=False):
    """Follows a `ScanMatrix` that is filled in place, and repaints the rows that changed."""

    COUNTED = "done"
    PERCENTS = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"scan--work"}
    DEFAULT_CSS = """
    ScanGrid > .scan--work { color: $accent; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # Without the letters of other views: the keys of the screen hold on the map as well.
        hidden_key("up", "move(-1)", "Up", "One type up"),
        hidden_key("down", "move(1)", "Down", "One type down"),
        hidden_key("pageup", "page(-1)", "Page up", "One page up"),
        hidden_key("pagedown", "page(1)", "Page down", "One page down"),
        hidden_key("home", "first", "First", "To the first type"),
        hidden_key("end", "last", "Last", "To the last type"),
        hidden_key("left", "step(-1)", "Left", "One cell to the left"),
        hidden_key("right", "step(1)", "Right", "One cell to the right"),
    ]
    matrix: ScanMatrix
    whole: ScanMatrix

    def follow(self, *, sparks: bool) -> None:
        """Show what the matrix knows by now; in the lines of scores over the depth only with
        `sparks`, as they take as long as all else at 60,000 layers."""
        stage, levels, selected = self.matrix.stage, self._levels, self.selected
        self.matrix.recount()
        self._levels = self.matrix.levels(one_scale=False)
        self._mask = self.whole.done
        self.selected = self.matrix.selected(self._mask)
        changed = np.concatenate(
            [stage != self.matrix.stage, levels != self._levels, selected != self.selected], axis=1
        ).any(axis=1)
        rows = set(np.flatnonzero(changed).tolist())
        self.refresh_rows(rows | (self._new_sparks() if sparks else set()))

    def _new_sparks(self) -> set[int]:
        """Draw the lines of scores anew; return the rows in which they are others."""
        if self.whole is not self.matrix:
            self.whole.recount()
        before = self._sparks
        self._sparks = self.whole.sparklines(self.geometry.spark, self.geometry.tall)
        return {row for row, line in enumerate(self._sparks) if line != before[row]}

    def marks_in(self, row: int) -> list[Sign]:
        """Return how far the layers of the cells of a row are."""
        return [Stage(stage) for stage in self.matrix.stage[row].tolist()]

    def _sign(self, kind: int, mark: Sign, width: int) -> tuple[str, Style]:
        if kind == Cell.NO_SCORE and mark is Stage.IN_WORK:
            return mark.glyph, self.line_style("scan--work")
        if kind == Cell.NO_SCORE and mark is Stage.WAITING:
            return mark.glyph, self.line_style("heat--dim")
        if kind == Cell.EMPTY:
            return " ", self.line_style()
        return super()._sign(kind, Mark.NONE, width)
