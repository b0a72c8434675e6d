"""The table of scored layers: any number of rows, drawn line by line from the score columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import bar, keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.app.widgets.marks import BY_HAND, Mark
from spectrum_tui.app.widgets.score_rows import ScoreRows, Sort
from spectrum_tui.core import numbers
from spectrum_tui.core.results.results import BoolArray, IntArray
from spectrum_tui.core.results.selection import Hand, HandArray, Selection
from spectrum_tui.core.scoring.metrics import described

TYPE_FROM, SHAPE_FROM = 140, 110
"""Cells of width from which the type and the shape have a column of their own."""
BAR, WIDE_BAR = 11, 48
"""Cells of the bar: at least, and where there is room to spare."""
_OFF_SCALE, _INFINITE = "▶", "▒"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its width without the gap after it, and what its title sorts by."""

    title: str
    width: int
    sort: Sort | None = None
    right: bool = False


def marked_bar(share: float, width: int) -> str:
    """Return a bar of `width` cells: eighths of a cell, `▶` off the scale, a pattern for
    infinity."""
    if math.isnan(share):
        return " " * width
    if math.isinf(share):
        return _INFINITE * width
    if share > 1:
        return "█" * (width - 1) + _OFF_SCALE
    return bar(share, width)


def _longest(names: list[str]) -> int:
    """Cells of the longest name; measuring only what is not ASCII saves 0.1 s at 60,000."""
    return max((len(n) if n.isascii() else cell_len(n) for n in names), default=5)


def _known_from(name: str, type_name: str) -> int:
    """Return where the telling part of a layer's name starts: at its number, `7.mlp.down_proj`."""
    at = name.rfind(type_name)
    return name.rfind(".", 0, at - 1) + 1 if at > 0 else 0


class ScoreTable(LineView):
    """Mark, bar, SNR and rank first, so that no width hides them; then what fits of the rest."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "score-table--mark",
        "score-table--bar",
        "score-table--muted",
        "score-table--faint",
        "score-table--failed",
    }
    DEFAULT_CSS = """
    ScoreTable {
        height: 1fr;
        & > .line-view--header { background: $panel; color: $foreground 80%; text-style: bold; }
        & > .score-table--mark { color: $success; text-style: bold; }
        & > .score-table--bar { color: $primary; }
        & > .score-table--muted { color: $foreground 60%; }
        & > .score-table--faint { color: $foreground 40%; }
        & > .score-table--failed { color: $error; }
    }
    """

    class Reordered(Message):
        """The rows are sorted or filtered otherwise now."""

    def __init__(self, selection: Selection, on_cursor: Callable[[], None] | None = None) -> None:
        self.selection = selection
        self.scores = selection.result.scores
        self.rows = ScoreRows(selection)
        self._known_rows = {selection: self.rows}
        self.metric = described(selection.result.scores.metric)
        self.order: IntArray = self.rows.ordered(Sort.FILE)
        self.mask: BoolArray = np.zeros(len(self.scores), np.bool_)
        self.hands: HandArray = np.zeros(len(self.scores), np.uint8)
        self.in_embeddings: BoolArray = np.zeros(len(self.scores), np.bool_)
        """The layers that train with the embeddings and heads, whatever their rank."""
        self.sort, self.reverse, self.containing = Sort.FILE, False, ""
        self._on_cursor = on_cursor
        self._columns: dict[str, Column] = {}
        self._columns_width = -1
        self._longest_layer = _longest(self.scores.layers)
        self._longest_type = _longest(self.scores.type_names)
        super().__init__(len(self.scores))

    # -- what is shown ------------------------------------------------------------------------

    @property
    def current(self) -> int | None:
        """The index into the scores of the layer under the cursor; None where no row is."""
        return int(self.order[self.cursor]) if len(self.order) else None

    def go_to(self, layer: int) -> None:
        """Put the cursor on a row of the scores, unless the filter hides it."""
        places = np.flatnonzero(self.order == layer)
        if len(places):
            self.cursor = int(places[0])
            self.show_row(self.cursor)

    def set_selection(self, selection: Selection) -> None:
        """Show the same layers ranked by another metric; the cursor stays on its layer."""
        layer = self.current
        self.selection, self.scores = selection, selection.result.scores
        if selection not in self._known_rows:
            self._known_rows[selection] = self.rows.rescored(selection)
        self.rows = self._known_rows[selection]
        self.metric = described(selection.result.scores.metric)
        self._columns_width = -1
        self.order = self.rows.ordered(self.sort, reverse=self.reverse, containing=self.containing)
        where = np.flatnonzero(self.order == layer)
        self.cursor = int(where[0]) if len(where) else 0
        self.show_row(self.cursor)
        self.refresh()
        self._tell()

    @property
    def sorted_by(self) -> str:
        by = self.metric.title if self.sort is Sort.SCORE else self.sort
        return f"{by}, reversed" if self.reverse else by

    def set_mask(self, mask: BoolArray, hands: HandArray) -> None:
        """Show another selection: repaints the visible rows that it changes."""
        old, self.mask = self.mask, mask
        said, self.hands = self.hands, hands
        visible = self.visible_rows
        rows = self.order[visible.start : visible.stop]
        changed = np.flatnonzero((old[rows] != mask[rows]) | (said[rows] != hands[rows]))
        self.refresh_rows((changed + visible.start).tolist())

    def set_embeddings(self, rows: BoolArray) -> None:
        """Mark these as embeddings and heads that train whatever their rank."""
        changed, self.in_embeddings = rows != self.in_embeddings, rows
        self.refresh_rows(np.flatnonzero(changed[self.order]).tolist())

    def trains(self, index: int) -> bool:
        """Return whether the layer trains: selected by its rank, or one of embeddings and head."""
        return bool(self.mask[index]) or bool(self.in_embeddings[index])

    def show(
        self, *, sort: Sort | None = None, reverse: bool = False, containing: str | None = None
    ) -> None:
        """Sort by `sort` (None keeps sort and direction) and filter (None keeps the filter).

        Sorted otherwise, the table starts at its first row; filtered, the cursor stays on its
        layer where that is still shown.
        """
        layer = self.current if sort is None else None
        if sort is not None:
            self.sort, self.reverse = sort, reverse
        if containing is not None:
            self.containing = containing
        self.order = self.rows.ordered(self.sort, reverse=self.reverse, containing=self.containing)
        self.resize_lines(0, len(self.order))
        where = np.flatnonzero(self.order == layer)
        self.cursor = int(where[0]) if len(where) else 0
        self.show_row(self.cursor)
        self.refresh()
        self._tell()
        self.post_message(self.Reordered())

    def watch_cursor(self, old: int, new: int) -> None:
        """Tell the owner at once, so that what it says of the layer is in the same frame."""
        super().watch_cursor(old, new)
        self._tell()

    def _tell(self) -> None:
        if self._on_cursor is not None:
            self._on_cursor()

    # -- keys and mouse -----------------------------------------------------------------------

    def action_sort(self) -> None:
        self.show(sort=self.sort.next())

    def action_reverse(self) -> None:
        self.show(sort=self.sort, reverse=not self.reverse)

    def action_jump(self, step: int) -> None:
        """Go to the next (1) or previous (-1) selected layer, around the end."""
        selected = np.flatnonzero(self.mask[self.order])
        if not len(selected):
            return
        if step > 0:
            at = int(np.searchsorted(selected, self.cursor, "right")) % len(selected)
        else:
            at = int(np.searchsorted(selected, self.cursor, "left")) - 1
        self.cursor = int(selected[at])

    def click_header(self, x: int) -> None:
        """Sort by the clicked column; a second click reverses."""
        for column in self.columns(self.view_size.width).values():
            if x <= column.width:
                if column.sort is not None:
                    again = column.sort is self.sort
                    self.show(sort=column.sort, reverse=again and not self.reverse)
                return
            x -= column.width + 1

    # -- drawing ------------------------------------------------------------------------------

    def columns(self, width: int) -> dict[str, Column]:
        """Return the columns that `width` cells hold, by name, from left to right: always mark,
        bar, score, rank and layer, then type and shape where there is room."""
        if self._columns_width != width:
            self._columns_width, self._columns = width, self._lay_out(width)
        return self._columns

    def _lay_out(self, width: int) -> dict[str, Column]:
        digits = len(str(self.selection.counts.max(initial=1)))
        rank = Column("rank ", max(7, 2 * digits + 2), Sort.SCORE, right=True)
        extra = {}
        if width >= TYPE_FROM:
            extra["type"] = Column("type", max(6, min(36, self._longest_type)), Sort.TYPE)
        if width >= SHAPE_FROM and self.scores.has_shapes:
            extra["shape"] = Column("shape", 15, right=True)
        score = Column(
            self.metric.title, max(8, len(self.metric.title) + 1), Sort.SCORE, right=True
        )
        fixed = 1 + score.width + rank.width + sum(c.width + 1 for c in extra.values()) + 5
        room = width - fixed - self._longest_layer
        bar_width = max(BAR, min(WIDE_BAR, room))
        layer = max(7, min(self._longest_layer, width - fixed - bar_width))
        return {
            "mark": Column("", 1),
            "bar": Column(
                "within its type" if bar_width > 14 else "in type", bar_width, Sort.SCORE
            ),
            "score": score,
            "rank": rank,
            "layer": Column("layer", layer, Sort.NAME),
            **extra,
        }

    def render_header(self, line: int, width: int) -> Strip:
        """Return the titles; an arrow at the one that the rows are sorted by."""
        cells = [self._title(name, column) for name, column in self.columns(width).items()]
        style = self.line_style("line-view--header")
        return Strip([Segment(" ".join(cells).ljust(width)[:width], style)], width)

    def _title(self, name: str, column: Column) -> str:
        title = column.title
        if column.sort is self.sort and name in ("score", "layer", "type"):
            down = (self.sort is Sort.SCORE) != self.reverse
            title += "▼" if down else "▲"
        return (
            title.rjust(column.width) if column.right else title.ljust(column.width)[: column.width]
        )

    def render_row(self, row: int, width: int) -> Strip:
        """One layer, or the reason why it has no score."""
        index = int(self.order[row])
        cursor = self.with_cursor(row)
        columns = self.columns(width)
        if self.rows.unscored[index]:
            front = self._failed_cells(index, columns, cursor)
        else:
            front = self._score_cells(index, columns, cursor)
        segments = [*front, *self._name_cells(index, columns, cursor)]
        used = sum(column.width + 1 for column in columns.values()) - 1
        if used < width:
            segments.append(Segment(" " * (width - used), self.line_style(*cursor)))
        return Strip(segments, max(used, width))

    def _score_cells(
        self, index: int, columns: dict[str, Column], cursor: tuple[str, ...]
    ) -> list[Segment]:
        on = self.trains(index)
        n = self.selection.counts[self.scores.type_ids[index]]
        rank = f"{self.selection.rank[index]}/{n} ".rjust(columns["rank"].width)
        score = numbers.score(float(self.scores.values[index])).rjust(columns["score"].width)
        mark, bars = ("mark", "bar") if on else ("muted", "faint")
        # The cursor's background is the bar's colour: the bar stands out on its own ground.
        under_bar = () if self.has_focus else cursor
        return [
            Segment(self._glyph(index), self._style(mark, cursor)),
            Segment(
                marked_bar(self.rows.bars[index], columns["bar"].width),
                self._style(bars, under_bar),
            ),
            Segment(f" {score} {rank} ", self._style("" if on else "muted", cursor)),
        ]

    def _glyph(self, index: int) -> str:
        if hand := int(self.hands[index]):
            return f"{BY_HAND[Hand(hand)].glyph} "
        if not self.trains(index):
            return "· "
        return f"{(Mark.ALL if self.mask[index] else Mark.EMBEDDINGS).glyph} "

    def _failed_cells(
        self, index: int, columns: dict[str, Column], cursor: tuple[str, ...]
    ) -> list[Segment]:
        reason = printable(self.scores.problems.get(index, "no score"))
        room = sum(columns[name].width + 1 for name in ("bar", "score", "rank")) - 1
        if cell_len(reason) > room:
            reason = set_cell_size(reason, room - 1) + "…"
        text = f"✗ {set_cell_size(reason, room)} "
        return [Segment(text, self._style("failed", cursor))]

    def _name_cells(
        self, index: int, columns: dict[str, Column], cursor: tuple[str, ...]
    ) -> list[Segment]:
        type_name = self.scores.type_names[self.scores.type_ids[index]]
        name = keep_end(self.scores.layers[index], columns["layer"].width)
        rest = f" {keep_end(type_name, columns['type'].width)}" if "type" in columns else ""
        if "shape" in columns:
            rest += " " + self.scores.shape(index).rjust(columns["shape"].width)
        muted = self._style("muted", cursor)
        if not self.trains(index):
            return [Segment(name + rest, muted)]
        at = _known_from(name, type_name)
        return [
            Segment(name[:at], muted),
            Segment(name[at:], self._style("", cursor)),
            Segment(rest, muted),
        ]

    def _style(self, part: str, cursor: tuple[str, ...]) -> Style:
        return self.line_style(*((f"score-table--{part}",) if part else ()), *cursor)
