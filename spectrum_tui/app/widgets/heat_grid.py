"""The heat map under keys and mouse: a cursor on one cell, and what the pointer is over."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message

from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.heat_rows import HeatRows
from spectrum_tui.app.widgets.key_footer import hidden_key


class HeatGrid(HeatRows):
    """Moves the cursor, and says which cell it or the pointer is on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("left,h", "step(-1)", "Left", "One cell to the left"),
        hidden_key("right,l", "step(1)", "Right", "One cell to the right"),
        hidden_key("r", "scale", "Range", "One range of colours per type, or one for all types"),
    ]

    class Moved(Message):
        """The cursor or the pointer is on another cell now; `cell` None where on none."""

        def __init__(self, cell: tuple[int, int] | None) -> None:
            super().__init__()
            self.cell = cell

    class ScaleChanged(Message):
        """The scale was toggled."""

    def __init__(self, matrix: HeatMatrix) -> None:
        super().__init__(matrix)
        self._hovered: tuple[int, int] | None = None

    def fit(self, size: Size) -> int:
        """Make the cells as large as this size allows, the cursor on the same block; return how
        many lines are drawn on."""
        lines = super().fit(size)
        self.post_message(self.Moved(self.cell))
        return lines

    @property
    def cursor_rows(self) -> list[int]:
        """The rows of the scores under the cursor."""
        return [] if self.cell is None else self.matrix.members(*self.cell).tolist()

    def types_of(self, row: int) -> list[int]:
        """Return the types that a row stands for: one, or a family of experts."""
        return self.matrix.types_of(row) if self.line_count else []

    # -- moving ----------------------------------------------------------------------------

    def validate_column(self, column: int) -> int:
        return max(0, min(column, len(self.matrix.numbers) - 1))

    def watch_column(self, old: int, new: int) -> None:
        """Repaint the two cells and the axis."""
        self._repaint_cells((self.cursor, old), (self.cursor, new))
        self.refresh(Region(0, 0, self.view_size.width, 1))
        self.post_message(self.Moved(self.cell))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows; the axis, where a row outside of any block is entered or left."""
        super().watch_cursor(old, new)
        if self.matrix.single[old] != self.matrix.single[new]:
            self.refresh(Region(0, 0, self.view_size.width, 1))
        self.post_message(self.Moved(self.cell))

    def watch_one_scale(self) -> None:
        self._levels = self.matrix.levels(one_scale=self.one_scale)
        self.post_message(self.ScaleChanged())

    def go_to(self, layer: int) -> None:
        """Put the cursor on the cell of a row of the scores."""
        self.cursor, self.column = self.matrix.cell_of(layer)

    def action_step(self, columns: int) -> None:
        """Move the cursor sideways; a row outside of any block has nowhere to go."""
        if self.line_count and not self.matrix.single[self.cursor]:
            self.column += columns

    def action_scale(self) -> None:
        self.one_scale = not self.one_scale

    def _repaint_cells(self, *cells: tuple[int, int]) -> None:
        if regions := list(self._cell_regions(np.array(cells), whole=True)):
            self.refresh(*regions)

    # -- mouse -----------------------------------------------------------------------------

    def click_row(self, row: int, x: int) -> None:
        super().click_row(row, x)
        column = (x - self.geometry.cells_at) // self.geometry.cell_width
        if 0 <= column < len(self.matrix.numbers) and not self.matrix.single[row]:
            self.column = column

    def on_mouse_move(self, event: events.MouseMove) -> None:
        cell = self._under(event)
        if cell != self._hovered:
            self._hovered = cell
            self.post_message(self.Moved(cell or self.cell))

    def _under(self, event: events.MouseEvent) -> tuple[int, int] | None:
        offset = event.get_content_offset(self)
        return self._cell_at(offset.x, offset.y) if offset is not None else None

    def on_leave(self) -> None:
        self._hovered = None
        self.post_message(self.Moved(self.cell))
