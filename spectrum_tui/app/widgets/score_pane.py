"""The score table with a filter line above it and the facts of the current layer below it."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.filter_line import FilterLine
from spectrum_tui.app.widgets.layer_facts import (
    layer_lines,
    what_it_costs,
    what_it_is,
    whole,
    why_chosen,
    why_unscored,
)
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection


class ScorePane(Vertical):
    """Table, filter and details; `table` is the table itself."""

    DEFAULT_CSS = """
    ScorePane {
        height: 1fr;
        & > #details { height: 1; color: $foreground 75%; background: $boost; text-wrap: nowrap; }
    }
    """

    def __init__(self, selection: Selection, memory: TrainingMemory | None = None) -> None:
        """`memory` is what training takes, where that can be known."""
        super().__init__()
        self.selection, self._memory = selection, memory
        self._policy = Policy()
        self._said = Content("")
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
        self._policy = policy
        self._show_details()

    def set_embeddings(self, rows: BoolArray) -> None:
        """Show these as embeddings and heads that train."""
        self.table.set_embeddings(rows)
        self._show_details()

    def _show_details(self) -> None:
        said = self.details(self.size.width)
        if said != self._said:
            self._said = said
            self._details.update(said, layout=False)

    def details(self, width: int) -> Content:
        """Return what is known of the current layer: two lines where the terminal is tall, else
        what its row had no room for, as far as that fits."""
        row = self.table.current
        if row is None:
            return Content(" No layer or type contains this text.")
        if self._details.size.height > 1:
            lines = layer_lines(self.selection, self._policy, self._memory, row, width - 1)
            return Content("\n").join(Content(" ") + line for line in lines)
        name = printable(self.selection.result.scores.layers[row])
        columns = self.table.columns(self.table.view_size.width)
        parts = [] if cell_len(name) <= columns["layer"].width else [name]
        if reason := why_unscored(self.selection, row):
            return Content(keep_end(" " + " · ".join([reason, *parts]), width))
        parts += what_it_is(self.selection.result.scores, row)
        parts.append(why_chosen(self.selection, self._policy, row)[0])
        cost = what_it_costs(self._memory, self.selection, row)
        parts += [cost] if cost else []
        if sum(map(cell_len, parts)) + 3 * len(parts) > width:
            parts = [part.removesuffix(" parameters") for part in parts]
        return Content(" ") + whole(parts, width - 1)
