"""The score table with a filter line above it and the facts of the current layer below it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.filter_line import FilterLine
from spectrum_tui.app.widgets.hands import WORDS
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.core import numbers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import ALWAYS, NEVER, Hand, Selection, percent_of_step

Part = tuple[str, float]
"""(label, score) of one matrix of a layer that has several."""


def spread_text(parts: Sequence[Part]) -> str:
    """`mean of 256 matrices from 0.12 to 3.41`."""
    scores = [score for _, score in parts]
    low, high = numbers.score(min(scores)), numbers.score(max(scores))
    return f"mean of {numbers.counted(len(parts), 'matrix', 'matrices')} from {low} to {high}"


class ScorePane(Vertical):
    """Table, filter and details; `table` is the table itself."""

    DEFAULT_CSS = """
    ScorePane {
        height: 1fr;
        & > #details { height: 1; color: $foreground 75%; background: $boost; text-wrap: nowrap; }
    }
    """

    def __init__(self, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self._policy = Policy()
        self.table = ScoreTable(selection, self._show_details)
        self._details = Static(markup=False, id="details")
        self.filter = FilterLine("part of a layer or type name", self._narrow, self.table.focus)

    def compose(self) -> ComposeResult:
        yield self.filter
        yield self.table
        yield self._details

    def on_resize(self) -> None:
        self._show_details()

    def _narrow(self, text: str) -> str:
        if text != self.table.containing:
            self.table.show(containing=text)
        return f"{len(self.table.order):,} of {len(self.table.scores):,}"

    # -- details ------------------------------------------------------------------------------

    def show(self, selection: Selection, policy: Policy) -> None:
        """Show what a policy selects, the layers ranked by another metric if they are not yet."""
        if selection is not self.selection:
            self.selection = selection
            self.table.set_selection(selection)
        self.table.set_mask(selection.mask(policy), selection.by_hand(policy))
        if policy.shape != self._policy.shape:
            self._policy = policy
            self._show_details()

    def set_embeddings(self, rows: BoolArray) -> None:
        """Show these as embeddings and heads that train."""
        self.table.set_embeddings(rows)
        self._show_details()

    def _show_details(self) -> None:
        self._details.update(self.details(self.size.width), layout=False)

    def details(self, width: int) -> Content:
        """Return what the row of the current layer had no room for, as far as it fits."""
        row = self.table.current
        if row is None:
            return Content(" No layer or type contains this text.")
        scores = self.selection.result.scores
        columns = self.table.columns(self.table.view_size.width)
        name = scores.layers[row]
        parts = [] if cell_len(name) <= columns["layer"].width else [name]
        if row in scores.problems:
            return Content(keep_end(" " + " · ".join([scores.problems[row], *parts]), width))
        if "type" not in columns:
            parts.append(scores.type_names[scores.type_ids[row]])
        if row in scores.parts:
            parts.append(f"{spread_text(scores.parts[row])} (x)")
        if scores.has_shapes:
            parts.append(scores.shape(row))
            parts.append(f"{numbers.count(float(scores.numel[row]))} parameters")
        parts.append(self._when_selected(row))
        return Content(printable(" " + " · ".join(parts)))

    def _when_selected(self, row: int) -> str:
        if self.table.in_embeddings[row]:
            return "◆ trains with embeddings and head"
        if hand := int(self.table.hands[row]):
            return WORDS[Hand(hand)]
        step = int(self.selection.shape(self._policy).threshold[row])
        if step == ALWAYS:
            return "selected whatever the percentage of others"
        if step == NEVER:
            return "not selected" if self.selection.rank[row] else "never selected"
        n = int(self.selection.counts[self.selection.result.scores.type_ids[row]])
        return f"selected from {percent_of_step(step, n):g} %"
