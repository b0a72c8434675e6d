"""The results: move the slider, see what it means in layers and parameters, save the YAML."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.result_dialogs import ResultDialogs
from spectrum_tui.app.screens.result_notes import result_label
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.result_views import TABLE, WIDE, ResultHeader, ResultViews
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.app.widgets.percent_slider import PERCENT_KEYS
from spectrum_tui.app.widgets.score_pane import FilterInput
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.view_bar import ViewBar
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.results.results import Result


class ResultsScreen(Screen[None]):
    """Slider and totals above; table, heat map or YAML below.

    `state` is what is known and chosen; `header` and `views` show it, `dialogs` opens what lies
    over it. Whatever changes the state calls `apply` (a percentage) or `follow` (anything).
    """

    AUTO_FOCUS = "PercentSlider"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 - as in Textual
    DEFAULT_CSS = """
    ResultsScreen {
        layout: vertical;
        &.-tall > ResultHeader { padding: 1; & > #memory { display: block; } }
        &.-wide YamlPreview { display: block; width: 36%; margin: 0 0 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *PERCENT_KEYS,
        Binding("w,ctrl+s", "save", "Save", tooltip="Write the YAML and the scores to a folder"),
        Binding("c", "copy", "Copy", tooltip="Copy the YAML to the clipboard, even over SSH"),
        Binding("e", "embeddings", "Embeddings", tooltip="Train or freeze embeddings and head"),
        Binding("f", "memory", "Memory", tooltip="Memory to train; fit into N GiB"),
        Binding(
            "slash", "filter", "Filter", key_display="/", tooltip="Show only some layers or types"
        ),
        Binding("s", "sort", "Sort", show=False, tooltip="Sort by file order, SNR, layer or type"),
        Binding("S", "reverse", "Reverse", show=False, tooltip="Reverse the order"),
        Binding("n", "jump(1)", "Next selected", show=False, tooltip="To the next selected layer"),
        Binding("N", "jump(-1)", "Previous", show=False, tooltip="To the previous selected layer"),
        Binding("v", "metric", "Metric", show=False, tooltip="Rank by another metric"),
        Binding("d", "spectrum", "Details", show=False, tooltip="Singular values of this layer"),
        Binding("x", "experts", "Experts", show=False, tooltip="List every expert of this layer"),
        Binding("a", "tiers", "Adapters", show=False, tooltip="LoRA in tiers, and what it trains"),
        Binding("o", "compare", "Compare", show=False, tooltip="Compare with another score file"),
        Binding("t", "view('Table')", "Table", show=False, tooltip="Show the table of layers"),
        Binding("m", "view('Heat map')", "Heat map", show=False, tooltip="Show the heat map"),
        Binding("y", "view('YAML')", "YAML", show=False, tooltip="Show the file as it is saved"),
        Binding("escape", "back", "Back", show=False, tooltip="Clear the filter, or go back"),
    ]

    def __init__(self, state: ResultState) -> None:
        super().__init__()
        self.state = state
        self.header = ResultHeader(state, self.apply)
        self.views = ResultViews(state)
        self.dialogs = ResultDialogs(self, state, self.header.memory, self.follow)
        self._sized: Result | None = None

    def compose(self) -> ComposeResult:
        yield StepBar(step=4, detail=printable(result_label(self.state.result)))
        yield self.header
        yield self.views
        yield KeyFooter()

    def on_mount(self) -> None:
        """Show the percentage that the settings ask for."""
        self.header.show_lines()
        self.views.show_order()
        self.follow()
        self.call_after_refresh(self._count_memory)
        wanted = self.state.settings.metric
        if wanted not in ("", self.state.ranking.metric.name):  # says that it is not there
            self.rank_by(wanted)

    def _count_memory(self) -> None:
        self.header.memory.prepare()
        self.header.show()

    def on_resize(self, event: Resize) -> None:
        """Put the YAML beside the table, and the memory on a line of its own, where there is
        room."""
        self.views.fit(event.size.width)
        self.header.show()

    # -- following the state ------------------------------------------------------------------

    def apply(self, percent: int) -> None:
        """Show what a percentage selects, in one frame."""
        self.state.choice = replace(self.state.choice, percent=percent)
        self._show()

    def follow(self) -> None:
        self.views.show_embeddings()
        self.header.show_notes()
        self.header.slider.value = self.state.choice.percent
        self._show()

    def _show(self) -> None:
        self.views.show()
        self.header.show()

    def take_sizes(self, result: Result) -> None:
        """Make way for a screen of the same scores with sizes: at once, or when the dialog that
        lies over this is closed."""
        self._sized = result
        self._make_way()

    def on_screen_resume(self) -> None:
        """Go on where the dialog that is closed was opened."""
        if self._sized is not None:
            self.call_after_refresh(self._make_way)

    def _make_way(self) -> None:
        if self._sized is not None and self.app.screen is self:
            sized, self._sized = self._sized, None
            self.app.switch_screen(ResultsScreen(self.state.of(sized)))

    # -- keys of what is shown ----------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if isinstance(self.focused, FilterInput):
            return action == "back"  # every other key is text for the filter
        if action == "experts":
            return bool(self.state.result.scores.parts) and self.views.current == TABLE
        return bool(self.state.result.embeddings) if action == "embeddings" else True

    def action_percent(self, by: int) -> None:
        self.header.slider.action_step(by)

    def action_embeddings(self) -> None:
        """Train embeddings and head, as the reference does, or freeze them."""
        choice = self.state.choice
        self.state.choice = replace(choice, embeddings=not choice.embeddings)
        self.follow()

    def action_metric(self) -> None:
        self.rank_by()

    def rank_by(self, metric: str = "") -> None:
        """Rank by a metric, or by the next one: everything that is shown follows in one frame."""
        try:
            self.state.rank_by(metric)
        except ResultsError as error:
            title = "Metric not available"
            self.notify(str(error), title=title, severity="warning", markup=False)
            return
        self.header.show_lines()
        self._show()
        self.views.show_order()

    def action_view(self, name: str) -> None:
        """Show a view, and give it the keys unless the slider has them."""
        self.views.switch(name)
        if self.focused is not self.header.slider:
            self._focus_view(name)

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

    def action_sort(self) -> None:
        self.views.in_table().action_sort()

    def action_reverse(self) -> None:
        self.views.in_table().action_reverse()

    def action_jump(self, step: int) -> None:
        self.views.in_table().action_jump(step)

    def action_filter(self) -> None:
        self.views.in_table()
        self.views.pane.open_filter()

    def action_back(self) -> None:
        if self.views.pane.filtering:
            self.views.pane.close_filter()
        else:
            self.dismiss()

    # -- keys of what opens over it -----------------------------------------------------------

    def action_experts(self) -> None:
        self.dialogs.experts(self.views.current_row)

    def action_spectrum(self) -> None:
        self.dialogs.spectrum(self.views.current_row)

    def action_compare(self) -> None:
        self.dialogs.compare()

    def action_memory(self) -> None:
        self.dialogs.memory()

    def action_tiers(self) -> None:
        self.dialogs.tiers()

    def action_copy(self) -> None:
        self.dialogs.copy()

    def action_save(self) -> None:
        self.dialogs.save()
