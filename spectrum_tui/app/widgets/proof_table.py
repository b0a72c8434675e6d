"""The methods of a proof as a table that fills: losses with their spread, sizes, times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.message import Message
from textual.strip import Strip

from spectrum_tui.app.proof_run import ProofView
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.rows import Outcome
from spectrum_tui.core.proof.summary import Summary, summaries, why_not
from spectrum_tui.core.proof.table import NOTHING, seconds_text
from spectrum_tui.core.proof.verdict import digits_of, loss_text

_MARKS = {"runs": "●", "done": "✓", "failed": "✗", "waits": "·"}
_RANGE = 16
"""Cells of the picture of the losses at least."""
_MOST_RANGE = 60


def label_of(method: str) -> str:
    """Return what a method is called on a screen: as it is typed, a file by its name."""
    parsed = parse_method(method)
    return printable(PurePath(parsed.file).stem) if parsed.kind == "policy" else method


def reason(failed: Outcome) -> str:
    """Return why a row has no loss and what would help, options of the command line as words."""
    hint = failed.hint.replace("--", "")
    return f"{why_not(failed).rstrip('.')}. {hint}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """A method: what its rows came to, None before the first; how many of them are done."""

    method: str
    label: str
    state: str
    done: int
    summary: Summary | None


def rows_of(view: ProofView) -> list[ProofRow]:
    """Return a row for each method of a proof."""
    found = {one.method: one for one in summaries(view.outcomes, view.methods)}
    rows = []
    for method in view.methods:
        summary = found.get(method)
        done = len(summary.held_out) if summary else 0
        runs = view.row is not None and view.row.method == method
        failed = summary is not None and bool(summary.failed) and not done
        state = "runs" if runs else "failed" if failed else "done" if done else "waits"
        rows.append(
            ProofRow(method=method, label=label_of(method), state=state, done=done, summary=summary)
        )
    return rows


class ProofTable(LineView):
    """One line for each method; the picture of the losses where there is room."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "proof--muted",
        "proof--runs",
        "proof--done",
        "proof--failed",
        "proof--mean",
    }
    DEFAULT_CSS = """
    ProofTable {
        height: 1fr;
        & > .line-view--header { color: $foreground 60%; text-style: none; }
        & > .proof--muted { color: $foreground 60%; }
        & > .proof--runs { color: $accent; text-style: bold; }
        & > .proof--done { color: $success; }
        & > .proof--failed { color: $error; }
        & > .proof--mean { color: $primary; text-style: bold; }
    }
    """

    class Moved(Message):
        """The user went to another row."""

    def __init__(self) -> None:
        super().__init__(id="rows")
        self.rows: list[ProofRow] = []
        self._seeds = 0
        self._keeps = False
        self._digits = 3

    @property
    def current(self) -> ProofRow | None:
        return self.rows[self.cursor] if self.rows else None

    def show(self, view: ProofView) -> None:
        """Show what the methods came to by now."""
        rows = rows_of(view)
        found = [row.summary for row in rows if row.summary is not None]
        same = (rows, self._seeds) == (self.rows, view.seeds)
        self.rows, self._seeds = rows, view.seeds
        self._keeps = any(one.kept for one in found)
        self._digits = digits_of(*(one.loss.spread for one in found))
        if len(rows) != self.line_count:
            self.resize_lines(0, len(rows))
        if not same:
            self.refresh()

    def _go(self, row: int) -> None:
        super()._go(row)
        self.post_message(self.Moved())

    def click_row(self, row: int, x: int) -> None:
        super().click_row(row, x)
        self.post_message(self.Moved())

    # -- drawing -------------------------------------------------------------------------------

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """(title, cells) in their order, each with a gap of two before it."""
        longest = max((cell_len(row.label) for row in self.rows), default=6)
        fixed = [("method", min(24, max(10, longest))), ("seeds", 5), ("held-out loss", 15)]
        kept = [("kept", 8)] if self._keeps else []
        last = [("trained", 8), ("peak", 7), ("step", 7)]
        room = width - 2 - sum(cells + 2 for _, cells in [*fixed, *kept, *last])
        if room >= _RANGE + 11:
            last, room = [*last, ("a row", 9)], room - 11
        if room >= _RANGE + 2:
            fixed = [*fixed, ("lower is better", min(_MOST_RANGE, room - 2))]
        columns = [*fixed, *kept, *last]
        while sum(cells + 2 for _, cells in columns) > width:
            columns.pop()
        return columns

    def render_header(self, line: int, width: int) -> Strip:
        style = self.line_style("line-view--header")
        text = "  "
        for title, cells in self._columns(width):
            if title == "lower is better":
                text += "  " + self._scale(cells)
            else:
                text += f"{title:<{cells}}" if title == "method" else f"  {title:>{cells}}"
        return Strip([Segment(text, style)])

    def render_row(self, row: int, width: int) -> Strip:
        one, cursor = self.rows[row], self.with_cursor(row)
        columns = self._columns(width)
        plain = self.line_style(*(() if one.summary or cursor else ("proof--muted",)), *cursor)
        mark = ("proof--muted",) if one.state == "waits" else (f"proof--{one.state}",)
        label = f"{set_cell_size(one.label, columns[0][1])}"
        segments = [
            Segment(f"{_MARKS[one.state]} ", self.line_style(*mark, *cursor)),
            Segment(label, plain),
        ]
        if one.state == "failed" and one.summary:
            failed = one.summary.failed[0]
            text = f"  {printable(reason(failed))}"
            room = width - 2 - columns[0][1]
            style = self.line_style("proof--failed", *cursor)
            return Strip([*segments, Segment(_cut(text, room), style)])
        for title, cells in columns[1:]:
            if title == "lower is better":
                segments += self._picture(one, cells, cursor)
            else:
                segments.append(Segment(f"  {self._cell(one, title):>{cells}}", plain))
        return Strip([*segments, Segment(" " * width, plain)]).crop(0, width)

    def _cell(self, row: ProofRow, title: str) -> str:
        one = row.summary
        if title == "seeds":
            failed = len(one.failed) if one and row.done else 0
            return f"{row.done}/{self._seeds}" + ("!" if failed else "")
        if one is None or not row.done:
            return NOTHING
        match title:
            case "held-out loss":
                return loss_text(one.loss, self._digits)
            case "kept":
                change = one.kept_loss.mean - one.kept_before
                return f"{change:+.3f}".replace("-", "−") if math.isfinite(change) else NOTHING
            case "trained":
                return numbers.count(one.trained)
            case "peak":
                return numbers.size(one.peak) if one.peak else NOTHING
            case "step":
                return seconds_text(one.step_seconds)
        return numbers.duration(one.seconds)

    def _spans(self) -> tuple[float, float]:
        """Return the losses between which the picture is drawn: all means with their spread."""
        ends = [
            end
            for row in self.rows
            if row.summary is not None and row.done
            for end in _ends(row.summary)
        ]
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        return (low, high) if high > low else (low - 0.01, high + 0.01)

    def _scale(self, cells: int) -> str:
        if not any(row.done for row in self.rows):
            return " " * cells
        low, high = (f"{end:.{self._digits}f}" for end in self._spans())
        middle = "lower is better"
        left = f"{low} ← {middle}" if cells >= len(low + high + middle) + 6 else low
        return f"{left}{high:>{cells - len(left)}}"

    def _picture(self, row: ProofRow, cells: int, cursor: tuple[str, ...]) -> list[Segment]:
        """Draw the mean as a point, the spread as a line on both sides of it."""
        line = [" "] * cells
        muted, mean = (self.line_style(f"proof--{n}", *cursor) for n in ("muted", "mean"))
        if row.summary is None or not row.done:
            return [Segment("  " + "".join(line), muted)]
        low, high = self._spans()
        cell = (high - low) / (cells - 1)
        at = round((row.summary.loss.mean - low) / cell)
        around = round((_ends(row.summary)[1] - row.summary.loss.mean) / cell)
        for place in range(max(0, at - around), min(cells, at + around + 1)):
            line[place] = "─"
        text = "".join(line)
        return [
            Segment("  " + text[:at], muted),
            Segment("●", mean),
            Segment(text[at + 1 :], muted),
        ]


def _ends(summary: Summary) -> tuple[float, float]:
    loss = summary.loss
    spread = loss.spread if math.isfinite(loss.spread) else 0.0
    return loss.mean - spread, loss.mean + spread


def _cut(text: str, cells: int) -> str:
    if cell_len(text) > cells > 0:
        text = f"{set_cell_size(text, cells - 1)}…"
    return set_cell_size(text, max(0, cells))
