"""The score table with a filter line above it and the facts of the current layer below it."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.layer_facts import (
    layer_lines,
    what_it_costs,
    what_it_is,
    why_chosen,
    why_unscored,
)
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection


class FilterInput(Input):
    """The text that a layer or type must contain."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear filter", tooltip="Show every layer again"),
        Binding("enter", "keep", "To the rows", tooltip="Keep the filter, go to the rows"),
        hidden_key("down", "keep", "To the rows", "Keep the filter, go to the rows"),
    ]

    def action_clear(self) -> None:
        self.query_ancestor(ScorePane).close_filter()

    def action_keep(self) -> None:
        self.query_ancestor(ScorePane).table.focus()


class ScorePane(Vertical):
    """Table, filter and details; `table` is the table itself."""

    DEFAULT_CSS = """
    ScorePane {
        height: 1fr;
        & > #filter {
            display: none;
            height: 1;
            background: $boost;
            & > #filter-label { width: auto; color: $accent; text-style: bold; padding: 0 1 0 0; }
            & > FilterInput { width: 1fr; background: $boost; }
            & > #filter-count { width: auto; color: $text-muted; padding: 0 1; }
        }
        &.-filtering > #filter { display: block; }
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
        self._input = FilterInput(placeholder="part of a layer or type name", compact=True)
        self._count = Static(markup=False, id="filter-count")

    def compose(self) -> ComposeResult:
        with Horizontal(id="filter"):
            yield Static("/", id="filter-label")
            yield self._input
            yield self._count
        yield self.table
        yield self._details

    def on_resize(self) -> None:
        self._show_details()

    # -- filter -------------------------------------------------------------------------------

    @property
    def filtering(self) -> bool:
        return self.has_class("-filtering")

    def open_filter(self) -> None:
        self.add_class("-filtering")
        self._input.focus()

    def close_filter(self) -> None:
        self.remove_class("-filtering")
        self._input.value = ""
        self.table.focus()

    @on(Input.Changed)
    def _filter(self, event: Input.Changed) -> None:
        event.stop()
        if event.value != self.table.containing:
            self.table.show(containing=event.value)
        self._count.update(f"{len(self.table.order):,} of {len(self.table.scores):,}")

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
            lines = layer_lines(self.selection, self._policy, self._memory, row)
            return Content("\n").join(Content(" ") + line for line in lines)
        name = printable(self.selection.result.scores.layers[row])
        columns = self.table.columns(self.table.view_size.width)
        parts = [] if cell_len(name) <= columns["layer"].width else [name]
        if reason := why_unscored(self.selection, row):
            return Content(keep_end(" " + " · ".join([reason, *parts]), width))
        parts += what_it_is(self.selection.result.scores, row)
        parts.append(why_chosen(self.selection, self._policy, row)[0])
        cost = what_it_costs(self._memory, self.selection, row)
        text = " " + " · ".join([*parts, cost] if cost else parts)
        return Content(text if cell_len(text) <= width else text.replace(" parameters ·", " ·"))
