"""The lines of the heat map: types by depth, each with its percentage, its cells and its counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import ClassVar, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end
from spectrum_tui.app.widgets.heat_layout import HeatLayout
from spectrum_tui.app.widgets.heat_matrix import (
    Cell,
    HeatMatrix,
    RowPercent,
    short_labels,
)
from spectrum_tui.app.widgets.heat_ramp import density_of, ramp_style
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.app.widgets.marks import MARKS, Mark, Sign
from spectrum_tui.core import numbers
from spectrum_tui.core.results.results import BoolArray, IntArray
from spectrum_tui.core.results.selection import HandArray
from spectrum_tui.core.scoring.metrics import described

REPAINT_ALL_CELLS = 60
"""From this many changed cells on, to repaint lines is cheaper than a region for each."""
CHOSEN, PERCENTS = "chosen", "top %"
"""The titles of the counts and of the percentages."""


class _Look(NamedTuple):
    """What a cell looks like. `under` the cursor or not, on the line of `words` or not."""

    kind: int
    level: int
    mark: Sign
    under: bool
    words: bool


class HeatRows(LineView):
    """Draws the cells, under an axis of block numbers that does not scroll."""

    HEADER_LINES = 1
    COUNTED: ClassVar[str] = CHOSEN
    """The title of the counts."""
    PERCENTS: ClassVar[bool] = True
    """Whether types have percentages."""
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "heat--label",
        "heat--dim",
        "heat--here",
        "heat--cursor",
        "heat--alone",
        "heat--infinite",
        "heat--infinite-selected",
        "heat--no-score",
        "heat--spark",
    }
    DEFAULT_CSS = """
    HeatRows {
        height: 1fr;
        & > .heat--dim { color: $text-muted; }
        & > .heat--here { color: $text-accent; text-style: bold; }
        & > .heat--cursor { background: $foreground; color: $background; text-style: bold; }
        & > .heat--alone { background: $panel; color: $foreground; }
        & > .heat--infinite { background: $panel; color: $text-warning; text-style: bold; }
        & > .heat--infinite-selected { background: $warning; color: $background; text-style: bold; }
        & > .heat--no-score { color: $text-error; }
        & > .heat--spark { color: $primary; }
    }
    """
    column: reactive[int] = reactive(0, repaint=False, init=False)
    """The column of the cursor; a row outside of any block has its one cell."""
    one_scale: reactive[bool] = reactive(False, init=False)
    """Whether one colour scale spans all types."""

    def __init__(self, matrix: HeatMatrix) -> None:
        super().__init__(len(matrix.labels))
        self.whole = matrix
        """One column for each block; `matrix` is what is drawn, with several in each if need be."""
        self._mask: BoolArray = np.zeros(len(matrix.scores), np.bool_)
        self._hands: HandArray = np.zeros(len(matrix.scores), np.uint8)
        self._heads: BoolArray = np.zeros(len(matrix.scores), np.bool_)
        self.percents = [RowPercent() for _ in matrix.labels]
        self._looks: dict[_Look, tuple[str, Style]] = {}
        self._label = max(10, max(map(cell_len, matrix.labels), default=0))
        self._short = short_labels(matrix.labels)
        most = max((2 * len(f"{n:,}") + 1 for n in matrix.layers_of_row), default=0)
        self._counts = max(most, len(CHOSEN)) + 2
        self.geometry = self._laid_out(Size(120, 40), low=1)
        self.is_placed = False
        """Whether the room is known: what is drawn before would stand elsewhere a moment later."""
        self._show_matrix()

    # -- what is selected ------------------------------------------------------------------

    def set_matrix(self, matrix: HeatMatrix) -> None:
        """Draw the same layers with other scores."""
        self.whole = matrix
        self._show_matrix()

    def _show_matrix(self) -> None:
        """Put rows and blocks where they stand now, and count again what is in each cell."""
        self._looks.clear()
        self.row_lines = self.geometry.tall
        self.resize_lines(0, self.line_count)
        self.matrix = self.whole.folded(self.geometry.fold)
        self._levels = self.matrix.levels(one_scale=self.one_scale)
        self._sparks = self.whole.sparklines(self.geometry.spark, self.geometry.tall)
        self.selected = self.matrix.selected(self._mask)
        self.marks = self.matrix.marks(self.selected, self._hands)
        self.set_embeddings(self._heads)

    def set_mask(self, mask: BoolArray, hands: HandArray, percents: list[RowPercent]) -> None:
        """Show another selection; only the cells, counts and percentages that it changes are
        repainted."""
        self._mask, self._hands = mask, hands
        selected = self.matrix.selected(mask)
        marks = self.matrix.marks(selected, hands)
        old = self.marks
        changed = np.argwhere(marks != old)
        recounted = np.flatnonzero(selected.sum(axis=1) != self.selected.sum(axis=1))
        moved = [i for i, now in enumerate(percents) if now != self.percents[i]]
        self.selected, self.marks, self.percents = selected, marks, percents
        if not self.is_mounted or not self.view_size:
            return
        layout = self.geometry
        hatched = bool(((marks == Mark.OUTSIDE) != (old == Mark.OUTSIDE)).any())
        regions = [
            *self._cell_regions(changed, whole=hatched),
            *self._count_regions(recounted.tolist()),
            *self._row_regions(moved, layout.label, layout.percent),
        ]
        if len(regions) > REPAINT_ALL_CELLS and hatched:
            self.refresh()
        elif len(regions) > REPAINT_ALL_CELLS:
            rows = self.visible_rows
            lines = self._row_regions(rows, 0, self.view_size.width)
            self.refresh(*lines, *(() if layout.counts else self._count_regions(rows)))
        elif regions:
            self.refresh(*regions)

    def set_embeddings(self, rows: BoolArray) -> None:
        """Mark these layers as embeddings and heads that train whatever their rank."""
        self._heads = rows
        members = self.anyway = self.matrix.selected(rows)
        self.in_embeddings = (members > 0) & (members == self.matrix.counts)
        self.refresh()

    def marks_in(self, row: int) -> list[Sign]:
        """Return what stands on the cells of a row: selected, in part, or training without being
        selected."""
        marks, heads = self.marks[row].tolist(), self.in_embeddings[row].tolist()
        return [
            Mark.EMBEDDINGS if mark == Mark.NONE and trains else MARKS[mark]
            for mark, trains in zip(marks, heads, strict=True)
        ]

    def _cell_regions(self, cells: IntArray, *, whole: bool) -> Iterator[Region]:
        """Where these cells are drawn, or only their marks."""
        rows, region = self.visible_rows, self.cells_region if whole else self._words_region
        for row, column in cells.tolist():
            if row in rows:
                start, end = self.geometry.span(column)
                yield region(row, start, end - start)

    def _row_regions(self, rows: Iterable[int], x: int, width: int) -> Iterator[Region]:
        visible = self.visible_rows
        return (self._words_region(row, x, width) for row in rows if row in visible)

    def _count_regions(self, rows: Iterable[int]) -> Iterator[Region]:
        """Where counts are drawn: behind the cells, or below the names."""
        layout = self.geometry
        if layout.counts:
            return self._row_regions(rows, layout.counts_at, layout.counts)
        return (one.translate((0, 1)) for one in self._row_regions(rows, 0, layout.label))

    def _words_region(self, row: int, x: int, width: int) -> Region:
        region = self.cells_region(row, x, width)
        return Region(x, region.y + self.geometry.words, width, 1)

    # -- where things stand ----------------------------------------------------------------

    @property
    def in_colour(self) -> bool:
        """Whether the terminal shows the ramp; with 16 colours or none it is drawn in density."""
        return not (self.app.no_color or self.app.console.color_system in ("standard", "windows"))

    def _laid_out(self, size: Size, *, low: int) -> HeatLayout:
        lines = size.height - self.HEADER_LINES
        return HeatLayout.of(
            (size.width - (lines < self.line_count), lines),
            label=self._label,
            short=max(map(cell_len, self._short), default=0),
            percents=self.PERCENTS,
            rows=self.line_count,
            blocks=len(self.whole.numbers),
            counts=self._counts,
            low=low,
        )

    def fit(self, size: Size) -> int:
        """Make the cells as large as this size allows; return how many lines are drawn on."""
        low = 1 if self.in_colour else 2  # in density, a mark stands beside the value
        if not self.is_placed:
            self.is_placed = True
            self.refresh()
        scrolls = int(size.height - self.HEADER_LINES < self.line_count)
        if self.styles.scrollbar_size_vertical != scrolls:  # its column is one of the map
            self.styles.scrollbar_size_vertical = scrolls
            self._view_size = (None, Size(0, 0))
        old, self.geometry = self.geometry, self._laid_out(size, low=low)
        if old != self.geometry:
            block = self.column * old.fold
            self._show_matrix()
            self.column = block // self.geometry.fold
        return self.line_count * self.row_lines + self.HEADER_LINES

    def _cell_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Return the cell at a position of the content; None where there is none."""
        row = self.row_at(y)
        if row is None:
            return None
        last = len(self.matrix.numbers)
        column = (x - self.geometry.cells_at) // self.geometry.cell_width
        column = last if self.matrix.single[row] else min(column, last - 1)
        start, end = self.geometry.span(column)
        return (row, column) if column >= 0 and start <= x < end else None

    @property
    def cell(self) -> tuple[int, int] | None:
        if not self.line_count:
            return None
        last = len(self.matrix.numbers)
        return self.cursor, last if self.matrix.single[self.cursor] else self.column

    def notify_style_update(self) -> None:
        """Forget what depends on the theme and the focus."""
        super().notify_style_update()
        self._looks.clear()

    # -- drawing ---------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        if not self.is_placed:
            return Strip.blank(self.size.width, self.rich_style)
        return super().render_line(y)

    def render_header(self, line: int, width: int) -> Strip:
        """Block numbers, and that of the cursor; how many share a cell; what stands beside."""
        layout, dim = self.geometry, self.line_style("heat--dim")
        here = None
        if self.line_count and len(self.matrix.numbers) and not self.matrix.single[self.cursor]:
            here = self.column, self.matrix.block(self.column)
        before, number, after = layout.axis(self.matrix.numbers, here)
        lead = "" if layout.short or not len(self.matrix.numbers) else "block"
        title = f"{PERCENTS if any(one.text for one in self.percents) else ''} "
        lead = "" if layout.short else f"{lead:>{layout.label}}"
        lead = f"{lead}{title:>{layout.cells_at - len(lead)}}"
        if layout.fold > 1:
            ways = (f"{layout.fold} {what}cell" for what in ("blocks a ", "blocks/", "a "))
            folded = next((text for text in ways if len(text) < layout.cells_at), "")
            rest = "" if layout.short else lead[max(layout.label, len(folded)) :]
            lead = f"{f'{folded:>{layout.label}}{rest}':{layout.cells_at}}"
        metric = described(self.matrix.scores.metric).title
        spark = next(t for t in (f"{metric} over depth", metric, "") if len(t) <= layout.spark)
        return Strip(
            [
                Segment(f"{lead}{before}", dim),
                Segment(number, self.line_style("heat--here")),
                Segment(after, dim),
                Segment(f"{self.COUNTED:>{layout.counts}} {spark}" if layout.counts else "", dim),
            ]
        )

    def render_row_line(self, row: int, line: int, width: int) -> Strip:
        """Return the line with the words of a type and the marks of its cells, or one of those
        that are only colour."""
        layout, dim = self.geometry, self.line_style("heat--dim")
        words = line == layout.words
        cells = self._cells(row, layout, words=words)
        spark = "" if self.matrix.single[row] else self._sparks[row][line]
        beside = Segment(spark, self.line_style("heat--spark"))
        # Heads that train whatever their rank are not "0/1".
        trained = np.maximum(self.selected[row], self.anyway[row]).sum()
        count = f"{trained:,}/{self.matrix.layers_of_row[row]:,}"
        if not words:
            below = count if not layout.counts and line == layout.words + 1 else ""
            before = f"{below:>{layout.label}}{'':{layout.percent}}"
            behind = Segment(" " * (layout.counts + 1), dim)
            return Strip([Segment(before, dim), *cells, behind, beside])
        percent = self.percents[row]
        here = "heat--here" if row == self.cursor and self.has_focus else "heat--label"
        label = self._short[row] if layout.short else self.matrix.labels[row]
        fitted = keep_end(label, min(layout.label, cell_len(label)))
        gap = " " * (layout.label - cell_len(fitted))
        return Strip(
            [
                Segment(f"{gap}{fitted}", self.line_style(here)),
                Segment(
                    layout.beside_name(percent.text),
                    self.line_style("heat--here") if percent.own else dim,
                ),
                *cells,
                Segment(f"{count:>{layout.counts}} " if layout.counts else "", dim),
                beside,
            ]
        )

    def _cells(self, row: int, layout: HeatLayout, *, words: bool) -> list[Segment]:
        last, plain = len(self.matrix.numbers), self.line_style()
        if self.matrix.single[row]:
            start, end = layout.span(last)
            text, style = self._single(row, end - start, words=words)
            return [Segment(text, style), Segment(" " * (layout.counts_at - end), plain)]
        kinds, levels = self.matrix.cells[row].tolist(), self._levels[row].tolist()
        marks, under = self.marks_in(row), self._highlighted(row)
        drawn = [
            self._look(_Look(kinds[i], levels[i], marks[i], i in under, words)) for i in range(last)
        ]
        runs = groupby(drawn, key=itemgetter(1))
        return [Segment("".join(text for text, _ in run), style) for style, run in runs]

    def _look(self, look: _Look) -> tuple[str, Style]:
        """Text and style of a cell, remembered: a map of 1,200 cells has a few dozen looks."""
        drawn = self._looks.get(look)
        if drawn is None:
            drawn = self._looks[look] = self._drawn(look, self.geometry.cell_width)
        return drawn

    def _drawn(self, look: _Look, width: int) -> tuple[str, Style]:
        """Return the value by colour (or density), with the mark on the line of words."""
        kind, mark = look.kind, look.mark
        hatched = mark is Mark.OUTSIDE
        cursor = ("heat--cursor",) if look.under else ()
        if kind == Cell.VALUE and not self.in_colour:
            shown = mark.glyph.strip() if look.words or hatched else ""
            return shown + density_of(look.level) * (width - len(shown)), self.line_style(*cursor)
        if kind == Cell.VALUE:
            text, style = mark.glyph, ramp_style(look.level)
        else:
            text, style = self._sign(kind, mark, width)
        if hatched:
            text = mark.glyph * width
        elif not look.words:
            text = ""
        return text.center(width), self.line_style(*cursor) if look.under else style

    def _single(self, row: int, width: int, *, words: bool) -> tuple[str, Style]:
        """Text and style of the cell of a layer outside of any block: its score is written, as
        there is nothing to compare its colour with."""
        column = len(self.matrix.numbers)
        kind, level = self.matrix.cells[row, column], int(self._levels[row, column])
        mark, under = self.marks_in(row)[column], column in self._highlighted(row)
        text, style = self._drawn(_Look(int(kind), level, mark, under, words), width)
        if kind != Cell.VALUE:
            return text, style
        score = numbers.score(float(self.matrix.mean[row, column]))
        text = f"{mark.glyph} {score}" if words else ""
        if not under and not (self.one_scale and self.in_colour):
            style = self.line_style("heat--alone")
        return text[:width].ljust(width), style

    def _highlighted(self, row: int) -> range:
        """Return the columns of a row that are under the cursor."""
        at, column = self.cell or (-1, 0)
        return range(column, column + 1) if row == at and self.has_focus else range(0)

    def _sign(self, kind: int, mark: Sign, width: int) -> tuple[str, Style]:
        """Return what has no place on the ramp; a selected ∞ has its mark beside it, or in its
        place."""
        marked = mark not in (Mark.NONE, Mark.OUTSIDE)
        if kind == Cell.INFINITE and marked:
            return f"{mark.glyph}∞"[:width], self.line_style("heat--infinite-selected")
        if kind == Cell.INFINITE:
            return "∞", self.line_style("heat--infinite")
        if kind == Cell.NO_SCORE:
            return "✗", self.line_style("heat--no-score")
        return "·", self.line_style("heat--dim")
