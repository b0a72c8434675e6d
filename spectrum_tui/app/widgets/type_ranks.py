"""The layers of the type under the cursor by rank, where the map leaves room for them."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.marks import Mark
from spectrum_tui.core import numbers
from spectrum_tui.core.results.results import BoolArray, IntArray
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.scoring.metrics import described

LEAST = 3
"""Lines from which it is worth to show: an empty one, the title, and some layers."""
_GAP = 3


class TypeRanks(Widget):
    """Block and score of each layer of one type, the best first, as many as there is room for."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TypeRanks { height: 1; display: none; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, selection: Selection, matrix: HeatMatrix) -> None:
        super().__init__()
        self._selection, self._matrix = selection, matrix
        self._mask: BoolArray = np.zeros(len(selection.rank), np.bool_)
        self._row: int | None = None

    def set_matrix(self, selection: Selection, matrix: HeatMatrix) -> None:
        """Rank the same layers by another metric."""
        self._selection, self._matrix = selection, matrix
        self.refresh()

    def set_mask(self, mask: BoolArray) -> None:
        """Show another selection."""
        if self.display and not np.array_equal(mask, self._mask):
            self.refresh()
        self._mask = mask

    def look_at(self, row: int | None) -> None:
        """Show the type of another layer, and where that stands in it."""
        if self.display and row != self._row:
            self.refresh()
        self._row = row

    def render(self) -> Content:
        if self._row is None or not self._matrix.block_of(self._row):
            return Content("")
        scores, rank = self._selection.result.scores, self._selection.rank
        kind = scores.type_ids[self._row]
        rows = np.flatnonzero((scores.type_ids == kind) & (rank > 0))
        best_first = rows[np.argsort(rank[rows], kind="stable")]
        what = f" by rank: block and {described(scores.metric).title}"
        name = printable(scores.type_names[kind])
        name = keep_end(name, min(cell_len(name), max(8, self.size.width - cell_len(what))))
        title = Content.assemble((name, "bold"), (what, MUTED))
        return Content("\n").join([Content(""), title, *self._lines(best_first)])

    def _lines(self, rows: IntArray) -> list[Content]:
        """Return the layers in columns, read line by line."""
        room, lines = self.size.width, self.size.height - LEAST + 1
        texts = [self._text(row) for row in rows[: room * lines].tolist()]
        cell = max(map(len, texts), default=1)
        across = max(1, (room + _GAP) // (cell + _GAP))
        shown = [
            Content.styled(text.ljust(cell), self._style(row))
            for row, text in zip(rows.tolist(), texts[: across * lines], strict=False)
        ]
        starts = range(0, len(shown), across)
        return [Content(" " * _GAP).join(shown[first : first + across]) for first in starts]

    def _text(self, row: int) -> str:
        mark = Mark.ALL.glyph if self._mask[row] else " "
        score = numbers.score(float(self._selection.result.scores.values[row]))
        return f"{mark} {self._matrix.block_of(row):>3} {score}"

    def _style(self, row: int) -> str:
        if row == self._row:
            return "bold $text-accent"
        return "$text-success" if self._mask[row] else MUTED
