"""The heat map by which the selection is shaped: cells drawn over, types turned by the wheel."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message

from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import HeatMatrix


class ShapingGrid(HeatGrid):
    """Says what is done to cells and types with the mouse."""

    @dataclass
    class Dragged(Message):
        """The pointer was drawn over cells with these rows of the scores."""

        layers: list[int]

    @dataclass
    class Turned(Message):
        """The wheel was turned over the name or the percentage of a row of these types."""

        types: list[int]
        by: int

    def __init__(self, matrix: HeatMatrix) -> None:
        super().__init__(matrix)
        self._drag: tuple[int, int, int] | None = None
        """Row, first and present column of the cells that the pointer is drawn over."""

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to draw over the cells of a row."""
        cell = self._under(event)
        if event.button == 1 and cell is not None and not self.matrix.single[cell[0]]:
            self._drag = (*cell, cell[1])
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Draw over the cells of the row as far as below or above the pointer."""
        if self._drag is None:
            return
        event.prevent_default()  # else it looks at the cell below the pointer besides
        row, start, _ = self._drag
        column = (event.x - self.geometry.cells_at) // self.geometry.cell_width
        self._drag = row, start, max(0, min(column, len(self.matrix.numbers) - 1))
        self.refresh_row(row)

    def on_mouse_up(self) -> None:
        """Say over which cells it was drawn, where these are more than one."""
        if self._drag is None:
            return
        row, start, end = self._drag
        self.release_mouse()
        if start != end:
            columns = range(min(start, end), max(start, end) + 1)
            layers = [layer for i in columns for layer in self.matrix.members(row, i).tolist()]
            self.post_message(self.Dragged(layers))

    def on_mouse_release(self) -> None:
        """End the drag: the mouse is free, whoever freed it."""
        if self._drag is not None:
            row, self._drag = self._drag[0], None
            self.refresh_row(row)

    def _highlighted(self, row: int) -> range:
        """Return the columns of a row that are drawn over, else those under the cursor."""
        if self._drag is None:
            return super()._highlighted(row)
        at, start, end = self._drag
        return range(min(start, end), max(start, end) + 1) if row == at else range(0)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._turn(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._turn(event, -1)

    def _turn(self, event: events.MouseEvent, by: int) -> None:
        """Change the percentage of a type where the wheel is over its name or percentage; scroll
        elsewhere."""
        offset = event.get_content_offset(self)
        row = None if offset is None else self.row_at(offset.y)
        if row is not None and offset is not None and offset.x < self.geometry.cells_at:
            event.stop()
            event.prevent_default()  # else it scrolls besides
            self.post_message(self.Turned(self.types_of(row), by))
