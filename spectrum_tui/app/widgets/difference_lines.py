"""The map of a comparison: which layers each of two selections has, types by blocks."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.comparison.differences import FAR, Cells, Differences, Where
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import BoolArray

GLYPHS = {
    Where.EMPTY: " ",
    Where.NEITHER: "·",
    Where.BOTH: "●",
    Where.ONLY_A: "<",
    Where.ONLY_B: ">",
    Where.MIXED: "≠",
    Where.SAME: "=",
    Where.HIGHER: "+",
    Where.LOWER: "-",
    Where.FAR_HIGHER: "▲",
    Where.FAR_LOWER: "▼",
}
WORDS = ("both", "only A", "only B")
"""What the first three marks mean of two models."""
_STYLES = {
    Where.BOTH: "differences--both",
    Where.ONLY_A: "differences--a",
    Where.ONLY_B: "differences--b",
    Where.MIXED: "differences--mixed",
    Where.HIGHER: "differences--both",
    Where.FAR_HIGHER: "differences--both",
    Where.LOWER: "differences--a",
    Where.FAR_LOWER: "differences--a",
}
_WIDEST, _TALLEST = 3, 2
"""Cells of a block, and lines of a type, at most."""


class DifferenceLines(LineView):
    """A row for each type, one mark for each block, or for some where that many do not fit."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {*_STYLES.values(), "differences--muted"}
    DEFAULT_CSS = """
    DifferenceLines {
        height: 1fr;
        & > .differences--both { color: $success; }
        & > .differences--a { color: $warning; text-style: bold; }
        & > .differences--b { color: $accent; text-style: bold; }
        & > .differences--mixed { color: $error; text-style: bold; }
        & > .differences--muted { color: $foreground 40%; }
    }
    """

    def __init__(self, differences: Differences, words: tuple[str, str, str] = WORDS) -> None:
        """`words` say what it means that a layer is in both selections, in A or in B alone."""
        self._words = words
        self._masks: tuple[BoolArray, BoolArray] | None = None
        self._cells: dict[int, Cells] = {}
        self._take(differences)
        super().__init__(len(differences.types))

    def _take(self, differences: Differences) -> None:
        self._differences = differences
        self._names = [printable(name) for name in differences.names]
        self._longest = max(map(cell_len, self._names), default=5)

    def show(
        self, masks: tuple[BoolArray, BoolArray], differences: Differences | None = None
    ) -> None:
        """Show two other selections, of other results where their differences are given."""
        if differences is not None and differences is not self._differences:
            self._take(differences)
            self._spread()
        self._masks = masks
        self._cells.clear()
        self.refresh()

    def on_resize(self) -> None:
        """Spread the types over the lines that there are."""
        self._spread()
        super().on_resize()

    def _spread(self) -> None:
        types = len(self._differences.types)
        self.row_lines = max(1, min(_TALLEST, self.page_lines // max(1, types)))
        self.resize_lines(0, types)
        self.refresh()

    @property
    def legend(self) -> str:
        """What the marks mean, and how many blocks each stands for."""
        both, only_a, only_b = self._words
        unlike = "  ≠ unlike" if self._per_cell(self.view_size.width) > 1 else ""
        return f"● {both}  < {only_a}  > {only_b}  · neither{unlike}{self._folding()}"

    def _folding(self) -> str:
        per_cell = self._per_cell(self.view_size.width)
        return f", {counted(per_cell, 'block')} a mark" if per_cell > 1 else ""

    def render_header(self, line: int, width: int) -> Strip:
        label, per_cell, cell = self._label(width), self._per_cell(width), self._cell(width)
        numbers = self._differences.blocks[::per_cell].tolist()
        text = ""
        for column, number in enumerate(numbers):
            at = column * cell
            if column % (5 if cell > 1 else 10) == 0 and len(text) <= at:
                text = text.ljust(at) + str(number)
        head = f"{'type':<{label}}  {text}"
        return Strip([Segment(head, self.line_style("line-view--header"))])

    def render_row_line(self, row: int, line: int, width: int) -> Strip:
        if line == (self.row_lines - 1) // 2:
            return self.render_row(row, width)
        return Strip.blank(width, self.line_style(*self.with_cursor(row)))

    def render_row(self, row: int, width: int) -> Strip:
        """One type; marks of one kind that stand together are one segment."""
        cursor = self.with_cursor(row)
        cell = self._cell(width)
        name = keep_end(self._names[row], self._label(width))
        segments = [Segment(f"{name}  ", self.line_style(*cursor))]
        for where, group in groupby(map(Where, self._marks(width)[row].tolist())):
            text = GLYPHS[where].ljust(cell) * len(list(group))
            style = self.line_style(_STYLES.get(where, "differences--muted"), *cursor)
            segments.append(Segment(text, style))
        used = sum(segment.cell_length for segment in segments)
        return Strip([*segments, Segment(" " * (width - used), self.line_style(*cursor))])

    def _marks(self, width: int) -> Cells:
        per_cell = self._per_cell(width)
        if self._masks is None:
            raise RuntimeError("nothing is shown yet")
        if per_cell not in self._cells:
            self._cells[per_cell] = self._differences.cells(*self._masks, per_cell)
        return self._cells[per_cell]

    def _label(self, width: int) -> int:
        return min(self._longest, max(8, width // 3))

    def _room(self, width: int) -> int:
        return max(1, width - self._label(width) - 2)

    def _per_cell(self, width: int) -> int:
        return max(1, -(-len(self._differences.blocks) // self._room(width)))

    def _cell(self, width: int) -> int:
        marks = -(-len(self._differences.blocks) // self._per_cell(width))
        return max(1, min(_WIDEST, self._room(width) // max(1, marks)))


class RankLines(DifferenceLines):
    """The same map of where layers rank in B against A, whatever is selected."""

    @property
    def legend(self) -> str:
        """What the marks mean, and how many blocks each stands for."""
        far = f"▲▼ by over {100 * FAR:.0f} %"
        return f"in B: = same rank  + higher  - lower  {far}{self._folding()}"

    def _marks(self, width: int) -> Cells:
        per_cell = self._per_cell(width)
        if per_cell not in self._cells:
            self._cells[per_cell] = self._differences.rank_cells(per_cell)
        return self._cells[per_cell]
