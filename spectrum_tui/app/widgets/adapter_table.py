"""The kinds of adapter recipe with what each would train: one line a kind, one of them chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.segment import Segment
from textual.strip import Strip

from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.adapters import AdapterCount


@dataclass(frozen=True, slots=True)
class AdapterRow:
    """A kind by its title, what trains by it in words, and how much that is."""

    title: str
    trains: str
    count: AdapterCount | None = None


class AdapterTable(LineView):
    """Four lines under a header; the cursor is on the kind that would be saved."""

    HEADER_LINES = 1
    DEFAULT_CSS = """
    AdapterTable {
        height: 6;
        overflow-y: hidden;
        & > .line-view--cursor { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, rows: Sequence[AdapterRow]) -> None:
        super().__init__(len(rows))
        self.rows = list(rows)

    def show(self, rows: Sequence[AdapterRow]) -> None:
        if list(rows) != self.rows:
            self.rows = list(rows)
            self.refresh()

    def render_header(self, line: int, width: int) -> Strip:
        text = _columns("recipe", "what trains", "parameters", "of model", width)
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        shown = self.rows[row]
        mark = "▸ " if row == self.cursor else "  "
        total, share = _amount(shown.count)
        text = _columns(mark + shown.title, shown.trains, total, share, width)
        return Strip([Segment(text, self.line_style(*self.with_cursor(row)))])


def _columns(title: str, trains: str, total: str, share: str, width: int) -> str:
    room = max(0, width - 15 - 11 - 10)
    title = title if title.startswith(("▸", " ")) else f"  {title}"
    while len(trains) > room and ", " in trains:
        trains = trains.rpartition(", ")[0]
    return f"{title:<15}{trains[:room]:<{room}}{total:>11}{share:>10}"


def _amount(count: AdapterCount | None) -> tuple[str, str]:
    """Parameters and share as text; dashes where they are not known."""
    if count is None or not count.parameters:
        return ("…" if count is None else "–"), ("" if count is None else "–")
    return numbers.count(count.parameters), numbers.percent(count.share) if count.share else "–"
