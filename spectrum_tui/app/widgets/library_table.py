"""The table of the library: score files, which of them are marked, and which are gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.message import Message
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.layer_types import natural_key
from spectrum_tui.core.saved.library import Entry

WIDE_FROM = 110
"""Cells of width from which the day of the scan, the device and the folder have columns."""
_GONE = "✗"
_MOST_MARKED = 2
_MODEL, _FOLDER = 40, 16
"""Cells of model and note at most where there is a folder to show, and of that at least."""


class LibrarySort(StrEnum):
    """What the rows can be sorted by, in the order that the sort key goes through."""

    USED = "last used"
    MODEL = "model"
    SCANNED = "scanned"
    LAYERS = "layers"

    def next(self) -> LibrarySort:
        every = list(LibrarySort)
        return every[(every.index(self) + 1) % len(every)]

    @property
    def highest_first(self) -> bool:
        """Whether dates or counts are sorted by."""
        return self is not LibrarySort.MODEL

    def key(self, entry: Entry) -> Any:
        """Return what an entry is sorted by."""
        match self:
            case LibrarySort.USED:
                return entry.used
            case LibrarySort.MODEL:
                return natural_key(entry.model.lower())
            case LibrarySort.SCANNED:
                return entry.finished
            case LibrarySort.LAYERS:
                return entry.layers


@dataclass(frozen=True, slots=True)
class Column:
    """A column of so many cells, with the gap after it; its text of an entry in these, None where
    the table draws it; and what its title sorts by."""

    title: str
    cells: int
    text: Callable[[Entry, int], str] | None = None
    sort: LibrarySort | None = None


def _model(cells: int) -> Column:
    return Column("model", cells, sort=LibrarySort.MODEL)


def _day(entry: Entry, cells: int) -> str:
    return _cut(printable(entry.finished) or "–", cells)


_MARK = Column("", 2)
_USED = Column("last used", 18, lambda e, cells: f"{e.last_used:<{cells}}", LibrarySort.USED)
_SCANNED = Column("scanned", 12, _day, LibrarySort.SCANNED)
_LAYERS = Column("layers", 14, lambda e, n: f"{e.layers_text[:12]:>{n - 2}}  ", LibrarySort.LAYERS)
_METRIC = Column("metric", 14, lambda e, cells: _cut(printable(e.metric), cells))
_DEVICE = Column("device", 12, lambda e, n: _cut(printable(e.device) or "–", n - 1) + " ")


class LibraryTable(LineView):
    """One line for each score file. `current` is the one under the cursor, `marked` are paths: the
    first is A, the second B."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "library--mark",
        "library--muted",
        "library--gone",
        "library--note",
    }
    DEFAULT_CSS = """
    LibraryTable {
        height: 1fr;
        & > .line-view--header { background: $panel; color: $foreground 80%; text-style: bold; }
        & > .library--mark { color: $success; text-style: bold; }
        & > .library--muted { color: $foreground 60%; }
        & > .library--gone { color: $foreground 40%; }
        & > .library--note { color: $accent; }
    }
    """

    class Changed(Message):
        """Other rows, marks or files that are gone are shown now."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: Sequence[Entry] = ()
        self.rows: list[Entry] = []
        self.marked: list[str] = []
        self.gone: Collection[str] = ()
        self.containing = ""
        self.sort, self.reverse = LibrarySort.USED, False
        self._longest = 0

    @property
    def current(self) -> Entry | None:
        return self.rows[self.cursor] if self.rows else None

    @property
    def marked_entries(self) -> list[Entry]:
        known = {entry.path: entry for entry in self.entries}
        return [known[path] for path in self.marked]

    # -- what is shown ------------------------------------------------------------------------

    def show_entries(self, entries: Sequence[Entry]) -> None:
        """Show what is in the library now; the cursor stays on its entry."""
        self.entries = entries
        known = {entry.path for entry in entries}
        self.marked = [path for path in self.marked if path in known]
        names = (f"{e.model}  {e.note}" if e.note else e.model for e in entries)
        self._longest = 2 + max((cell_len(printable(name)) for name in names), default=5)
        self._order()

    def show_gone(self, gone: Collection[str]) -> None:
        """Show which of the files are no longer there."""
        self.gone = gone
        self._drawn_anew()

    def narrow(self, text: str) -> str:
        """Show the entries that contain a text; returns how many these are."""
        if text != self.containing:
            self.containing = text
            self._order()
        return f"{len(self.rows):,} of {len(self.entries):,}"

    def action_sort(self) -> None:
        self.sort_by(self.sort.next())

    def action_reverse(self) -> None:
        self.sort_by(self.sort, reverse=not self.reverse)

    def sort_by(self, sort: LibrarySort, *, reverse: bool = False) -> None:
        self.sort, self.reverse = sort, reverse
        self._order(stay=False)

    def mark(self) -> None:
        """Mark the current entry, or no longer; a third mark takes the place of the second."""
        entry = self.current
        if entry is None:
            return
        if entry.path in self.marked:
            self.marked.remove(entry.path)
        else:
            self.marked = [*self.marked[: _MOST_MARKED - 1], entry.path]
        self._drawn_anew()

    def _order(self, *, stay: bool = True) -> None:
        before = self.current
        found = [entry for entry in self.entries if entry.contains(self.containing)]
        falling = self.sort.highest_first != self.reverse
        self.rows = sorted(found, key=self.sort.key, reverse=falling)
        self.resize_lines(0, len(self.rows))
        paths = [entry.path for entry in self.rows]
        here = stay and before is not None and before.path in paths
        self.cursor = paths.index(before.path) if here and before else 0
        self.show_row(self.cursor)
        self._drawn_anew()

    def _drawn_anew(self) -> None:
        self.refresh()
        self.post_message(self.Changed())

    def click_header(self, x: int) -> None:
        """Sort by the clicked column; a second click reverses."""
        for column in self._columns(self.view_size.width):
            if x < column.cells:
                if column.sort is not None:
                    again = column.sort is self.sort
                    self.sort_by(column.sort, reverse=again and not self.reverse)
                return
            x -= column.cells

    # -- drawing ------------------------------------------------------------------------------

    def _columns(self, width: int) -> list[Column]:
        """Return the columns that have room."""
        wide = width >= WIDE_FROM
        fixed = [_USED, _SCANNED, _LAYERS, _METRIC, _DEVICE] if wide else [_USED, _LAYERS, _METRIC]
        room = width - _MARK.cells - sum(column.cells for column in fixed)
        model = min(self._longest, _MODEL)
        if not wide or room - model < _FOLDER:
            return [_MARK, _model(room), *fixed]
        folder = Column("folder", room - model, lambda entry, cells: keep_end(entry.folder, cells))
        return [_MARK, _model(model), *fixed, folder]

    def render_header(self, line: int, width: int) -> Strip:
        texts = []
        for column in self._columns(width):
            falling = self.sort.highest_first != self.reverse
            arrow = (" ↓" if falling else " ↑") if column.sort is self.sort else ""
            text, cells = f"{column.title}{arrow}", column.cells
            texts.append(f"{text:>{cells - 2}}  " if column is _LAYERS else f"{text:<{cells}}")
        return Strip([Segment("".join(texts), self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """One file: its mark first, then what fits."""
        entry, cursor = self.rows[row], self.with_cursor(row)
        gone = entry.path in self.gone
        plain = self.line_style(*(("library--gone",) if gone else ()), *cursor)
        muted = self.line_style("library--gone" if gone else "library--muted", *cursor)
        segments = []
        for column in self._columns(width):
            if column is _MARK:
                style = self.line_style("library--mark", *cursor)
                segments.append(Segment(f"{self._mark(entry, gone)} ", style))
            elif column.text is None:
                segments += self._named(entry, column.cells - 2, row)
                segments.append(Segment("  ", plain))
            else:
                style = plain if column is _LAYERS else muted
                segments.append(Segment(column.text(entry, column.cells), style))
        return Strip(segments)

    def _mark(self, entry: Entry, gone: bool) -> str:
        if entry.path in self.marked:
            return "AB"[self.marked.index(entry.path)]
        return _GONE if gone else " "

    def _named(self, entry: Entry, cells: int, row: int) -> list[Segment]:
        """Model and note: the note first where there is not room for both, as it was given to
        tell entries apart."""
        gone = ("library--gone",) if entry.path in self.gone else ()
        note = printable(entry.note)
        kept = min(cell_len(note), cells // 2) if note else 0
        model = printable(entry.model)
        room = cells - (kept + 2 if kept else 0)
        name = keep_end(model, min(cell_len(model), room))
        left = cells - cell_len(name)
        segments = [Segment(name, self.line_style(*gone, *self.with_cursor(row)))]
        style = self.line_style("library--note", *self.with_cursor(row))
        text = f"  {note}" if note else ""
        return [*segments, Segment(_cut(text, left), style)]


def _cut(text: str, cells: int) -> str:
    """Return exactly so many cells; a longer text loses its end."""
    if cell_len(text) > cells > 0:
        text = set_cell_size(text, cells - 1) + "…"
    return set_cell_size(text, max(0, cells))
