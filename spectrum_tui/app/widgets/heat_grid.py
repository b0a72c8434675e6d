"""The cells of the heat map: types by depth, drawn line by line, with a cursor on one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import ClassVar

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end
from spectrum_tui.app.widgets.heat_layout import HeatLayout
from spectrum_tui.app.widgets.heat_matrix import IN_EMBEDDINGS, MARKS, Cell, HeatMatrix, Mark
from spectrum_tui.app.widgets.heat_ramp import density_of, ramp_style
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.results.results import BoolArray, IntArray
from spectrum_tui.core.results.selection import HandArray

REPAINT_ALL_CELLS = 60
"""From this many changed cells on, one repaint is cheaper than a region for each."""


class HeatGrid(LineView):
    """The cells, under an axis of layer numbers that does not scroll."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "heat--label",
        "heat--dim",
        "heat--here",
        "heat--cursor",
        "heat--infinite",
        "heat--infinite-selected",
        "heat--no-score",
    }
    DEFAULT_CSS = """
    HeatGrid {
        height: 1fr;
        & > .heat--dim { color: $text-muted; }
        & > .heat--here { color: $text-accent; text-style: bold; }
        & > .heat--cursor { background: $foreground; color: $background; text-style: bold; }
        & > .heat--infinite { background: $panel; color: $text-warning; text-style: bold; }
        & > .heat--infinite-selected { background: $warning; color: $background; text-style: bold; }
        & > .heat--no-score { color: $text-error; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("left,h", "step(-1)", "Left", "One layer to the left"),
        hidden_key("right,l", "step(1)", "Right", "One layer to the right"),
        Binding("x", "scale", "Scale", tooltip="One colour scale per type, or one for all types"),
    ]

    column: reactive[int] = reactive(0, repaint=False, init=False)
    """The layer column of the cursor; a row without layer numbers has its one cell."""
    one_scale: reactive[bool] = reactive(False, init=False)
    """Whether one colour scale spans all types."""

    class Moved(Message):
        """The cursor or the pointer is on another cell now; `cell` None where on none."""

        def __init__(self, cell: tuple[int, int] | None) -> None:
            super().__init__()
            self.cell = cell

    class ScaleChanged(Message):
        """The scale was toggled."""

    def __init__(self, matrix: HeatMatrix) -> None:
        super().__init__(len(matrix.labels))
        self.matrix = matrix
        self.selected: IntArray = np.zeros(matrix.shape, np.int64)
        self.marks = np.full(matrix.shape, Mark.NONE, np.uint8)
        self.in_embeddings: BoolArray = np.zeros(matrix.shape, np.bool_)
        """The cells of embeddings and head, where those train whatever their rank."""
        self._levels = matrix.levels(one_scale=False)
        self.first = 0
        """The leftmost layer column in view."""
        self._label = max(map(cell_len, matrix.labels), default=0)
        self._counts = max((2 * len(f"{n:,}") + 3 for n in matrix.layers_of_row), default=0)
        self._hovered: tuple[int, int] | None = None

    # -- what is selected ------------------------------------------------------------------

    def set_matrix(self, matrix: HeatMatrix) -> None:
        self.matrix = matrix
        self.watch_one_scale()
        self.refresh()

    def set_mask(self, mask: BoolArray, hands: HandArray) -> None:
        """Show another selection; only the cells (and counts) that it changes are repainted."""
        selected = self.matrix.selected(mask)
        marks = self.matrix.marks(selected, hands)
        changed = np.argwhere(marks != self.marks)
        recounted = np.flatnonzero(selected.sum(axis=1) != self.selected.sum(axis=1))
        self.selected, self.marks = selected, marks
        if not self.is_mounted or not self.view_size:
            return
        regions = [*self._cell_regions(changed), *self._count_regions(recounted)]
        if len(regions) > REPAINT_ALL_CELLS:
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def set_embeddings(self, in_embeddings: BoolArray) -> None:
        """Mark these cells as training without being ranked."""
        self.in_embeddings = in_embeddings
        self.refresh()

    def mark(self, row: int, column: int) -> str:
        """Return what stands on a cell: selected, in part, or training without being selected."""
        mark = int(self.marks[row, column])
        return (
            IN_EMBEDDINGS if mark == Mark.NONE and self.in_embeddings[row, column] else MARKS[mark]
        )

    def _cell_regions(self, cells: IntArray) -> Iterator[Region]:
        rows = self.visible_rows
        for row, column in cells.tolist():
            span = self._span(row, column)
            if row in rows and span is not None:
                yield Region(span[0], row - rows.start + self.HEADER_LINES, span[1] - span[0], 1)

    def _count_regions(self, rows: IntArray) -> Iterator[Region]:
        layout, visible = self.geometry, self.visible_rows
        if layout.counts:
            for row in rows.tolist():
                if row in visible:
                    y = row - visible.start + self.HEADER_LINES
                    yield Region(layout.counts_at, y, layout.counts, 1)

    # -- where things stand ----------------------------------------------------------------

    @property
    def in_colour(self) -> bool:
        """Whether the terminal shows the ramp; with 16 colours or none it is drawn in density."""
        return not (self.app.no_color or self.app.console.color_system in ("standard", "windows"))

    @property
    def geometry(self) -> HeatLayout:
        """Where things stand on a line of the present width."""
        return HeatLayout.of(
            self.view_size.width,
            label=self._label,
            has_single=bool(self.matrix.single.any()),
            layers=len(self.matrix.numbers),
            counts=self._counts,
            low=1 if self.in_colour else 2,  # in density, a mark stands beside the value
        )

    def _span(self, row: int, column: int) -> tuple[int, int] | None:
        """From where to where a cell stands on its line; None where it is scrolled out."""
        layout = self.geometry
        if column == len(self.matrix.numbers):
            return layout.label + 1, layout.label + layout.single
        if not self.first <= column < self.first + layout.shown:
            return None
        x = layout.cells_at + (column - self.first) * layout.cell
        return x, x + layout.cell

    def _cell_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Return the cell at a position of the content; None where there is none."""
        row = self.row_at(y)
        if row is None:
            return None
        if self.matrix.single[row]:
            column = len(self.matrix.numbers)
        else:
            layout = self.geometry
            column = self.first + (x - layout.cells_at) // layout.cell
            if not 0 <= column < len(self.matrix.numbers):
                return None
        span = self._span(row, column)
        return (row, column) if span and span[0] <= x < span[1] else None

    @property
    def cell(self) -> tuple[int, int] | None:
        if not self.line_count:
            return None
        last = len(self.matrix.numbers)
        return self.cursor, last if self.matrix.single[self.cursor] else self.column

    # -- drawing ---------------------------------------------------------------------------

    def render_header(self, line: int, width: int) -> Strip:
        """Layer numbers, one every 5 or 10 layers, and the one of the cursor."""
        layout = self.geometry
        here = self.column if self.line_count and not self.matrix.single[self.cursor] else None
        before, number, after = layout.axis(self.matrix.numbers, self.first, here)
        lead = ("‹ " if self.first else "") + ("layer" if len(self.matrix.numbers) else "")
        lead += " ›" if self.first + layout.shown < len(self.matrix.numbers) else ""
        dim = self.line_style("heat--dim")
        return Strip(
            [
                Segment(f"{lead:>{layout.label}} {'':{layout.single}}{before}", dim),
                Segment(number, self.line_style("heat--here")),
                Segment(after, dim),
            ]
        )

    def render_row(self, row: int, width: int) -> Strip:
        layout = self.geometry
        here = "heat--here" if row == self.cursor and self.has_focus else "heat--label"
        label = self.matrix.labels[row]
        fitted = keep_end(label, min(layout.label, cell_len(label)))
        gap = " " * (layout.label - cell_len(fitted))
        plain = self.line_style()
        segments = [Segment(f"{gap}{fitted} ", self.line_style(here))]
        segments += self._cells(row, layout, plain)
        if layout.counts:
            count = f"{self.selected[row].sum():,}/{self.matrix.layers_of_row[row]:,}"
            segments.append(Segment(f"{count:>{layout.counts}}", self.line_style("heat--dim")))
        return Strip(segments)

    def _cells(self, row: int, layout: HeatLayout, plain: Style) -> Iterable[Segment]:
        last = len(self.matrix.numbers)
        if self.matrix.single[row]:
            text, style = self._cell(row, last, layout.single - 1)
            rest = layout.shown * layout.cell + 1
            return [Segment(text, style), Segment(" " * rest, plain)]
        columns = range(self.first, min(last, self.first + layout.shown))
        drawn = [self._cell(row, column, layout.cell) for column in columns]
        runs = groupby(drawn, key=lambda part: part[1])
        cells = [Segment("".join(text for text, _ in run), style) for style, run in runs]
        return [Segment(" " * layout.single, plain), *cells]

    def _cell(self, row: int, column: int, width: int) -> tuple[str, Style]:
        """Text and style of a cell: the value by colour (or density), the mark on top."""
        kind, mark = self.matrix.cells[row, column], self.mark(row, column)
        cursor = self.has_focus and (row, column) == self.cell
        if kind == Cell.VALUE and not self.in_colour:
            text = mark + density_of(int(self._levels[row, column])) * (width - 1)
            return text, self.line_style(*(("heat--cursor",) if cursor else ()))
        if kind == Cell.VALUE:
            text, style = mark, ramp_style(int(self._levels[row, column]))
        else:
            text, style = self._sign(kind, mark, width)
        return text.center(width), self.line_style("heat--cursor") if cursor else style

    def _sign(self, kind: int, mark: str, width: int) -> tuple[str, Style]:
        """Return what has no place on the ramp; a selected ∞ has its mark beside it, or is
        reversed."""
        marked = mark not in (MARKS[Mark.NONE], MARKS[Mark.OUTSIDE])
        if kind == Cell.INFINITE and marked and width > 1:
            return f"{mark}∞", self.line_style("heat--infinite")
        if kind == Cell.INFINITE:
            return "∞", self.line_style("heat--infinite-selected" if marked else "heat--infinite")
        if kind == Cell.NO_SCORE:
            return "✗", self.line_style("heat--no-score")
        return "·", self.line_style("heat--dim")

    # -- moving ----------------------------------------------------------------------------

    def validate_column(self, column: int) -> int:
        return max(0, min(column, len(self.matrix.numbers) - 1))

    def watch_column(self, old: int, new: int) -> None:
        """Repaint the two cells and the axis, or scroll sideways."""
        first = max(new - self.geometry.shown + 1, min(self.first, new), 0)
        if first != self.first:
            self.first = first
            self.refresh()
        else:
            self._repaint_cells((self.cursor, old), (self.cursor, new))
            self.refresh(Region(0, 0, self.view_size.width, 1))
        self.post_message(self.Moved(self.cell))

    def watch_cursor(self, old: int, new: int) -> None:
        """Repaint the two rows; the axis, where a row without layer numbers is entered or left."""
        super().watch_cursor(old, new)
        if self.matrix.single[old] != self.matrix.single[new]:
            self.refresh(Region(0, 0, self.view_size.width, 1))
        self.post_message(self.Moved(self.cell))

    def watch_one_scale(self) -> None:
        self._levels = self.matrix.levels(one_scale=self.one_scale)
        self.post_message(self.ScaleChanged())

    def action_step(self, columns: int) -> None:
        """Move the cursor sideways; a row without layer numbers has nowhere to go."""
        if self.line_count and not self.matrix.single[self.cursor]:
            self.column += columns

    def action_scale(self) -> None:
        self.one_scale = not self.one_scale

    def _repaint_cells(self, *cells: tuple[int, int]) -> None:
        if regions := list(self._cell_regions(np.array(cells))):
            self.refresh(*regions)

    def click_row(self, row: int, x: int) -> None:
        super().click_row(row, x)
        cell = self._cell_at(x, row - self.scroll_offset.y + self.HEADER_LINES)
        if cell is not None and cell[1] < len(self.matrix.numbers):
            self.column = cell[1]

    def on_mouse_move(self, event: events.MouseMove) -> None:
        offset = event.get_content_offset(self)
        cell = self._cell_at(offset.x, offset.y) if offset is not None else None
        if cell != self._hovered:
            self._hovered = cell
            self.post_message(self.Moved(cell or self.cell))

    def on_leave(self) -> None:
        self._hovered = None
        self.post_message(self.Moved(self.cell))

    def on_resize(self) -> None:
        self.first = max(0, self.column - self.geometry.shown + 1)
