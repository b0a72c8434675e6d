"""The scores of one row of the heat map as columns, under the cells that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import TRAINS, Cell, HeatMatrix
from spectrum_tui.core import numbers
from spectrum_tui.core.results.results import BoolArray, FloatArray
from spectrum_tui.core.scoring.metrics import described

MIN_HEIGHT = 6
"""Below this, columns would say less than the cells above them."""
MAX_HEIGHT = 16
_HEAD = 2
_EIGHTHS = " ▁▂▃▄▅▆▇█"


class HeatProfile(Widget):
    """A blank line, a title, then columns from 0 up to the row's highest score.

    Selected ones stand out in colour (the cells above have their marks).
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "profile--dim",
        "profile--selected",
        "profile--other",
        "profile--here",
        "profile--sign",
    }
    DEFAULT_CSS = """
    HeatProfile {
        display: none;
        & > .profile--dim { color: $text-muted; }
        & > .profile--selected { color: $primary; }
        & > .profile--other { color: $foreground 35%; }
        & > .profile--here { color: $accent; }
        & > .profile--sign { color: $text-warning; }
    }
    """

    row: reactive[int] = reactive(0)

    def __init__(self, matrix: HeatMatrix, grid: HeatGrid, metric: str) -> None:
        super().__init__()
        self.matrix = matrix
        self.grid = grid
        self._title = described(metric).title

    def set_matrix(self, matrix: HeatMatrix, metric: str) -> None:
        self.matrix, self._title = matrix, described(metric).title
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, plain = self.size.width, self.rich_style
        if y == 0 or not self.matrix.labels or self.matrix.single[self.row]:
            return Strip.blank(width, plain)
        at, dim = self.grid.geometry, self._style("profile--dim")
        values = np.where(self._is_value, self.matrix.mean[self.row, :-1], 0.0)
        top = float(values.max(initial=0.0))
        if y == 1:
            return self._padded([Segment(f"{self._title:>{at.label}} ", dim)])
        label = numbers.score(top) if y == _HEAD else "0" if y == self.size.height - 1 else ""
        lead = [
            Segment(f"{label:>{at.label}} ", dim),
            Segment(" " * (at.cells_at - at.label - 1), plain),
        ]
        return self._padded([*lead, *self._columns(y, values, top)])

    def _columns(self, y: int, values: FloatArray, top: float) -> Iterator[Segment]:
        """Yield the part of every column on line `y`, in eighths of a line."""
        at, first = self.grid.geometry, self.grid.first
        height = self.size.height - _HEAD
        below = (self.size.height - 1 - y) * 8
        for column in range(first, min(len(values), first + at.shown)):
            kind = self.matrix.cells[self.row, column]
            eighths, style = 0, self._style(self._kind_of(column))
            if kind == Cell.VALUE and top:
                eighths = max(1, round(values[column] / top * height * 8)) - below
            text = _EIGHTHS[max(0, min(8, eighths))] * max(1, at.cell - 1)
            if kind == Cell.INFINITE or (kind == Cell.NO_SCORE and not below):
                text, style = "∞" if kind == Cell.INFINITE else "✗", self._style("profile--sign")
            yield Segment(text.ljust(at.cell), style)

    def _kind_of(self, column: int) -> str:
        if self.grid.cell == (self.row, column):
            return "profile--here"
        trains = self.grid.marks[self.row, column] in TRAINS
        return "profile--selected" if trains else "profile--other"

    @property
    def _is_value(self) -> BoolArray:
        return np.asarray(self.matrix.cells[self.row, :-1] == Cell.VALUE)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(name)

    def _padded(self, segments: list[Segment]) -> Strip:
        return Strip(segments).crop_extend(0, self.size.width, self.rich_style)
