"""The table of the library: score files, which of them are marked, and which are gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
_MARK, _TIME, _DAY, _LAYERS, _METRIC, _DEVICE = 2, 16, 10, 12, 14, 12
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
        for title, width in self._columns(self.view_size.width):
            if x < width:
                if title in list(LibrarySort):
                    sort = LibrarySort(title)
                    self.sort_by(sort, reverse=sort is self.sort and not self.reverse)
                return
            x -= width

    # -- drawing ------------------------------------------------------------------------------

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """(title, cells with the gap after it) of the columns that have room."""
        fixed = [("last used", _TIME + 2), ("layers", _LAYERS + 2), ("metric", _METRIC)]
        if width >= WIDE_FROM:
            fixed[1:1] = [("scanned", _DAY + 2)]
            fixed.append(("device", _DEVICE))
        room = width - _MARK - sum(cells for _, cells in fixed)
        model = min(self._longest, _MODEL)
        if width < WIDE_FROM or room - model < _FOLDER:
            return [("", _MARK), ("model", room), *fixed]
        return [("", _MARK), ("model", model), *fixed, ("folder", room - model)]

    def render_header(self, line: int, width: int) -> Strip:
        texts = []
        for title, cells in self._columns(width):
            falling = self.sort.highest_first != self.reverse
            arrow = (" ↓" if falling else " ↑") if title == self.sort else ""
            right = title == "layers"
            text = f"{title}{arrow}"
            texts.append(f"{text:>{cells - 2}}  " if right else f"{text:<{cells}}")
        return Strip([Segment("".join(texts), self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """One file: its mark first, then what fits."""
        entry, cursor = self.rows[row], self.with_cursor(row)
        gone = entry.path in self.gone
        plain = self.line_style(*(("library--gone",) if gone else ()), *cursor)
        muted = self.line_style("library--gone" if gone else "library--muted", *cursor)
        segments = []
        for title, cells in self._columns(width):
            match title:
                case "":
                    style = self.line_style("library--mark", *cursor)
                    segments.append(Segment(f"{self._mark(entry, gone)} ", style))
                case "model":
                    segments += self._named(entry, cells - 2, row)
                    segments.append(Segment("  ", plain))
                case "layers":
                    text = entry.layers_text[:_LAYERS]
                    segments.append(Segment(f"{text:>{_LAYERS}}  ", plain))
                case _:
                    text = _text(entry, title, cells)
                    segments.append(Segment(text, muted))
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


def _text(entry: Entry, title: str, cells: int) -> str:
    match title:
        case "last used":
            return f"{entry.last_used:<{cells}}"
        case "scanned":
            return _cut(printable(entry.finished) or "–", cells)
        case "metric":
            return _cut(printable(entry.metric), cells)
        case "device":
            return _cut(printable(entry.device) or "–", cells - 1) + " "
    return keep_end(entry.folder, cells)


def _cut(text: str, cells: int) -> str:
    """Return exactly so many cells; a longer text loses its end."""
    if cell_len(text) > cells > 0:
        text = set_cell_size(text, cells - 1) + "…"
    return set_cell_size(text, max(0, cells))
