"""The results: move the slider, see what it means in layers and parameters, save the YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key, Resize
from textual.screen import Screen

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.result_dialogs import ResultDialogs
from spectrum_tui.app.screens.result_notes import result_label
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.result_views import TABLE, TALL, WIDE, YAML, ResultHeader, ResultViews
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.filter_line import FilterInput, FilterLine
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.percent_slider import PERCENT_KEYS
from spectrum_tui.app.widgets.shaping_grid import ShapingGrid
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.view_bar import ViewBar
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import DATA_METRICS

UNKNOWN_SHOWN = 3


class ResultsScreen(NamedKeys, Screen[None]):
    """Slider and totals above; heat map, table or YAML below.

    `state` is what is known and chosen; `header` and `views` show it, `dialogs` opens what lies
    over it. Whoever changes the choice assigns `state.choice`; what shows it follows.
    """

    AUTO_FOCUS = ""  # the view that it opens with: `on_mount`
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL, "-tall")]  # noqa: RUF012 - as in Textual
    DEFAULT_CSS = """
    ResultsScreen {
        layout: vertical;
        &.-tall > ResultHeader { padding: 1 1 0 1; & > #memory { display: block; } }
        &.-tall #details { height: 2; }
        &.-wide YamlPreview { display: block; width: 36%; max-width: 60; margin: 0 0 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *PERCENT_KEYS,
        Binding(
            "w,ctrl+s", "open('save')", "Save", tooltip="Write the YAML and the scores to a folder"
        ),
        hidden_key("c", "open('copy')", "Copy", "Copy the YAML, even over SSH"),
        Binding("e", "embeddings", "Embeddings", tooltip="Train or freeze embeddings and head"),
        Binding("f", "open('memory')", "Memory", tooltip="Memory to train; fit into N GiB"),
        Binding("space", "pin", "Pin", tooltip="Always train this layer; again to undo"),
        Binding("P", "open('prove')", "Prove", tooltip="Train with this selection, and compare"),
        hidden_key("minus,delete", "ban", "Ban", "Never train this layer; again to undo"),
        hidden_key(
            "greater_than_sign", "type(1)", "Type more", "One more layer of this layer's type"
        ),
        hidden_key(
            "less_than_sign", "type(-1)", "Type less", "One layer less of this layer's type"
        ),
        hidden_key(
            "percent_sign", "open('type_percent')", "Type percent", "Type a percentage of this type"
        ),
        hidden_key(
            "right_square_bracket", "block(1)", "Fewer blocks", "Freeze one more block, from below"
        ),
        hidden_key(
            "left_square_bracket", "block(-1)", "More blocks", "Free the topmost frozen block"
        ),
        hidden_key("b", "open('blocks')", "Blocks", "Type the blocks that train: 0-3,28-31"),
        hidden_key("R", "rule", "Rule", "Cut within each type, or over all layers"),
        hidden_key("u", "undo", "Undo", "Undo the last change of the selection"),
        hidden_key("ctrl+r", "redo", "Redo", "Redo what was undone"),
        hidden_key("slash", "filter", "Filter", "Show some layers or types"),
        hidden_key("s", "in_table('sort')", "Sort", "Sort by file order, SNR, layer or type"),
        hidden_key("S", "in_table('reverse')", "Reverse", "Reverse the order"),
        hidden_key("n", "in_table('jump(1)')", "Next selected", "To the next selected layer"),
        hidden_key("N", "in_table('jump(-1)')", "Previous", "To the previous selected layer"),
        hidden_key("D", "measure", "Measure on data", "Gradients on texts of yours, as metrics"),
        hidden_key("v", "metric", "Metric", "Rank by another metric"),
        hidden_key("d", "open('singular_values')", "Details", "Singular values of this layer"),
        hidden_key("x", "open('experts')", "Experts", "List every expert of this layer"),
        hidden_key("a", "open('tiers')", "Adapters", "LoRA in tiers, and what it trains"),
        hidden_key("o", "open('compare')", "Compare", "Compare with another score file"),
        hidden_key("t", "view('Table')", "Table", "Show the table of layers"),
        hidden_key("m", "view('Heat map')", "Heat map", "Show the heat map"),
        hidden_key("y", "view('YAML')", "YAML", "Show the file as it is saved"),
        hidden_key("escape", "back", "Back", "Clear the filter, or go back"),
    ]

    def __init__(self, state: ResultState) -> None:
        super().__init__()
        self.state = state
        self.header = ResultHeader(state)
        self.views = ResultViews(state)
        self.dialogs = ResultDialogs(self, state, self.views, self.header)
        self._sized: Result | None = None
        self._filtered_from = self.views.current

    def compose(self) -> ComposeResult:
        yield StepBar(step=4, detail=printable(result_label(self.state.result)))
        yield self.header
        yield self.views
        yield KeyFooter()

    def on_mount(self) -> None:
        """Show the choice, from now on whenever it changes."""
        self.state.watch(self._show)
        self.state.refuse = lambda error: self._warn(str(error), "The budget stays as it is")
        self._show()
        self.views.widget(self.views.current).focus()
        self._say_what_is_not_here()
        self.call_after_refresh(self._count_memory)
        wanted = self.state.settings.metric
        if wanted not in ("", self.state.ranking.metric.name):  # says that it is not there
            self.action_metric(wanted)

    def _say_what_is_not_here(self) -> None:
        """Tell which of the policy that was asked for these scores do not allow, or do not hold."""
        choice = self.state.choice
        for title, error in self.state.refused:
            self._warn(str(error), title)
        if unknown := choice.selection.unknown(choice.policy):
            names = ", ".join(map(printable, unknown[:UNKNOWN_SHOWN]))
            more = ", …" if len(unknown) > UNKNOWN_SHOWN else ""
            self._warn(f"{names}{more}", f"{counted(len(unknown), 'choice')} without a layer here")

    def _warn(self, text: str, title: str) -> None:
        self.notify(text, title=title, severity="warning", markup=False)

    def _show(self) -> None:
        self.views.show()
        self.header.show()
        if self.state.sizing and self.dialogs.opens_memory:
            self.header.say("memory opens with the sizes (f: not then)")

    def _count_memory(self) -> None:
        self.state.memory.prepare()
        self.state.choice.selection.prepare()
        self.header.show()

    def on_resize(self, event: Resize) -> None:
        """Put the YAML beside the table, and the memory on a line of its own, where there is
        room."""
        self.views.fit(event.size)
        self.header.show()

    def take_sizes(self, result: Result) -> None:
        """Make way for a screen of the same scores with sizes or more metrics: at once, or when the
        dialog that lies over this is closed."""
        self._sized = result
        self._make_way()

    def wait_for_sizes(self, model: str) -> None:
        """Show that the sizes of a model are being read, for which the memory waits; "" says that
        there are none."""
        self.state.sizing = model
        waited, self.dialogs.opens_memory = self.dialogs.opens_memory, False
        self._show()
        if waited and self.app.screen is self:
            self.dialogs.memory()

    def on_screen_resume(self) -> None:
        """Go on where the dialog that is closed was opened."""
        if self._sized is not None:
            self.call_after_refresh(self._make_way)

    def _make_way(self) -> None:
        if self._sized is not None and self.app.screen is self:
            sized, self._sized = self._sized, None
            screen = ResultsScreen(self.state.of(sized))
            self.app.switch_screen(screen)
            if self.dialogs.opens_memory:
                screen.call_after_refresh(screen.dialogs.memory)

    # -- keys of what is shown ----------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if isinstance(self.focused, FilterInput):
            return action == "back"  # every other key is text for the filter
        if parameters == ("experts",):
            return bool(self.state.result.scores.parts) and self.views.current != YAML
        return bool(self.state.result.embeddings) if action == "embeddings" else True

    def on_key(self, event: Key) -> None:
        """Take digits for a percentage, whatever has the keys."""
        self.header.slider.on_key(event)

    def action_percent(self, by: int) -> None:
        self.header.slider.action_percent(by)

    def action_embeddings(self) -> None:
        """Train embeddings and head, as the reference does, or freeze them."""
        self.state.choose(embeddings=not self.state.choice.policy.embeddings)

    def action_pin(self) -> None:
        self.state.pin(self.views.current_rows)

    def action_ban(self) -> None:
        self.state.ban(self.views.current_rows)

    def action_type(self, by: int) -> None:
        """Select more or fewer layers of the type under the cursor, or of all in its row."""
        self._move_types(self.views.current_types, by)

    @on(ShapingGrid.Turned)
    def _turned(self, event: ShapingGrid.Turned) -> None:
        self._move_types(event.types, event.by)

    def _move_types(self, types: Sequence[int], by: int) -> None:
        if types:
            self.state.move_types(types, by)
            self.header.say(f"{self.state.types_text(types)} (% types another)")

    def action_block(self, by: int) -> None:
        """Let fewer or more blocks train."""
        self.state.move_first_block(by)

    def action_rule(self) -> None:
        """Cut within each type, or over all layers."""
        self.state.next_rule()

    def action_undo(self) -> None:
        self.header.say_step("undone", self.state.undo())

    def action_redo(self) -> None:
        self.header.say_step("done again", self.state.redo())

    def action_metric(self, metric: str = "") -> None:
        """Rank by a metric, or by the next one: everything that is shown follows in one frame."""
        if not metric and not self.state.has_metrics:
            said = f"These scores hold {self.state.ranking.metric.name} alone."
            self._warn(f"{said} Scan the model to get every metric.", "No other metric")
            return
        try:
            self.state.rank_by(metric)
        except SpectrumError as error:
            self._warn(str(error), "Metric not available")

    def action_measure(self) -> None:
        """Measure the layers on data; the metrics of that stand beside the others then."""
        from spectrum_tui.app.screens.probe import ProbeScreen

        self.app.push_screen(ProbeScreen(self.state), self._take_metrics)

    def _take_metrics(self, result: Result | None) -> None:
        if result is not None:
            names = ", ".join(name for name in DATA_METRICS if name in result.metrics)
            self.app.notify(f"v ranks by {names}.", title="Measured on data", markup=False)
            self.take_sizes(result)

    def action_view(self, name: str) -> None:
        """Show a view, and give it the keys."""
        self.views.switch(name)
        self._focus_view(self.views.current)

    @on(ViewBar.Chosen)
    def _view_chosen(self, event: ViewBar.Chosen) -> None:
        self.action_view(event.name)

    @work(group=KEYS_WAIT)
    async def _focus_view(self, name: str) -> None:
        """Give a view the keys once it is on show: it may only be mounted now."""
        shown = asyncio.Event()
        self.call_after_refresh(shown.set)
        await shown.wait()
        self.views.widget(name).focus()

    async def action_in_table(self, action: str) -> None:
        """Run an action of the table, which comes into sight."""
        await self.views.in_table().run_action(action)
        self._focus_view(TABLE)

    def action_filter(self) -> None:
        """Narrow the table; once that is over, what was looked at before is back."""
        self._filtered_from = self.views.current
        self.views.in_table()
        self.views.pane.filter.open()

    @on(FilterLine.Closed)
    def _filter_closed(self) -> None:
        if self.views.current == TABLE:
            self.action_view(self._filtered_from)

    @property
    def is_unsaved(self) -> bool:
        return self.state.is_unsaved

    def action_back(self) -> None:
        if self.views.pane.filter.is_open:
            self.views.pane.filter.close()
        elif self.state.sizing and self.dialogs.opens_memory:
            self.dialogs.memory()
        elif self.is_unsaved:
            self.dialogs.leave()
        else:
            self.dismiss()

    def defaults(self) -> dict[str, Any]:
        """Return what "Keep these as my defaults" keeps."""
        return self.state.defaults()

    def action_open(self, dialog: str) -> None:
        """Open what a method of `ResultDialogs` opens."""
        getattr(self.dialogs, dialog)()
