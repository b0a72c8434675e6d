"""The results: move the slider, see what it means in layers and parameters, save the YAML."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Static

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.rankings import Rankings
from spectrum_tui.app.screens.result_dialogs import ResultDialogs
from spectrum_tui.app.screens.result_keys import RESULT_KEYS
from spectrum_tui.app.screens.result_notes import facts, head_text, result_label, totals_text
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.app.widgets.memory_line import MemoryLine
from spectrum_tui.app.widgets.percent_slider import PercentSlider
from spectrum_tui.app.widgets.score_pane import FilterInput, ScorePane
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.app.widgets.view_bar import ViewBar
from spectrum_tui.app.widgets.yaml_preview import YamlPreview
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.recipes.choice import FROZEN_HEAD
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import METRICS, Settings

TABLE, HEAT, YAML = "Table", "Heat map", "YAML"
VIEWS = ((TABLE, "t"), (HEAT, "m"), (YAML, "y"))
WIDE = 160
"""Columns from which the YAML stands beside the table."""


class ResultsScreen(ResultDialogs):
    """Slider and totals above; table, heat map or YAML below."""

    AUTO_FOCUS = "PercentSlider"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 - as in Textual
    DEFAULT_CSS = """
    ResultsScreen {
        layout: vertical;
        & > #header {
            height: auto;
            padding: 0 1;
            & > #memory { display: none; }
            & > #ties, & > #small { height: 1; color: $warning; text-wrap: nowrap; }
            & > #notes { height: auto; }
        }
        &.-tall > #header { padding: 1; & > #memory { display: block; } }
        & > #body { height: 1fr; padding: 0 1; }
        & ScorePane, & Heatmap, & YamlPreview { display: none; width: 1fr; height: 1fr; }
        &.-table ScorePane, &.-heat Heatmap, &.-yaml YamlPreview { display: block; }
        &.-wide YamlPreview { display: block; width: 36%; margin: 0 0 0 1; }
    }
    """
    BINDINGS = RESULT_KEYS

    def __init__(self, result: Result, settings: Settings, *, head: bool = True) -> None:
        """`head`: whether embeddings and output head train, where the model has any."""
        super().__init__(classes="-table")
        self.settings = settings
        self._rankings = Rankings(result)
        self.ranking = self._rankings.first(settings.metric)
        self.head = head and bool(result.head)
        self.view_name = TABLE
        self._make_widgets()

    def with_result(self, result: Result) -> ResultsScreen:
        """The same percentage, tiers, metric and head of another result."""
        metric = self.ranking.metric.name
        shown = replace(self.settings, top_percent=self.percent, metric=metric)
        head = self.head or not self.result.head
        screen = ResultsScreen(result, shown, head=head)
        screen.tiers = self.tiers
        return screen

    def _make_widgets(self) -> None:
        percent = self.settings.top_percent
        self.slider = PercentSlider(percent, self.apply)
        self.pane = ScorePane(self.selection)
        self.heatmap: Heatmap | None = None  # made when it is looked at: 0.3 s at 60,000 layers
        self.preview = YamlPreview(self.recipe.view(percent, head=self.head), self._longest_line())
        self.bar = ViewBar(VIEWS)
        self.totals = TotalsLine(id="totals")
        self.memory = MemoryLine(self.result, id="memory")
        self._ties_line = Static(markup=False, id="ties")
        self._small_line = Static(markup=False, id="small")
        self._notes = Static(markup=False, id="notes")

    def _longest_line(self) -> int:
        """Cells of the longest line that any percentage brings: a name, or an opening comment,
        which names the metric."""
        opening = self.recipe.view(100, head=self.head)
        room = max(len(name) for name in METRICS) if self._rankings.several else 0
        lines = [len(opening.line(number)) + room for number in range(min(4, len(opening)))]
        names = [2 + len(name) for row in self.result.scores.parameters for name in row]
        return max(lines + names)

    def compose(self) -> ComposeResult:
        """Steps, slider and totals, views, keys."""
        yield StepBar(step=4, detail=printable(result_label(self.result)))
        with Vertical(id="header"):
            yield self.slider
            yield self.totals
            yield self.memory
            yield self._ties_line
            yield self._small_line
            yield self._notes
        yield self.bar
        with Horizontal(id="body"):
            yield self.pane
            yield self.preview
        yield KeyFooter()

    def on_mount(self) -> None:
        """Show the percentage that the settings ask for."""
        self.pane.set_head(self.head)
        self._show_lines()
        self.show_notes()
        self._show_order()
        self.apply(self.percent)
        self.call_after_refresh(self.count_memory)
        if self.settings.metric not in ("", self.ranking.metric.name):  # says that it is not there
            self.show_metric(self.settings.metric)

    @property
    def table(self) -> ScoreTable:
        """The table of layers."""
        return self.pane.table

    def apply(self, percent: int) -> None:
        """Show what `percent` selects: everything is repainted in one frame, without a layout.

        A hidden view is left as it is until it is shown: a hidden widget that asks for a repaint
        makes the next frame work out the whole screen again.
        """
        mask = self.selection.mask(percent, head=self.head)
        if self.view_name == TABLE:
            self.pane.set_selection(self.selection)
            self.pane.set_mask(mask)
        if self.view_name == HEAT and self.heatmap is not None:
            self.heatmap.set_selection(self.selection)
            self.heatmap.set_mask(mask)
        if self.view_name == YAML or self.size.width >= WIDE:
            self.preview.show(self.recipe.view(percent, head=self.head))
        left = totals_text(self.selection, percent, head=self.head)
        memory = self.memory.follow(self.selection, percent, head=self.head, tiers=self.tiers)
        right, short = head_text(self.result, head=self.head), left.replace(" parameters", "")
        self.totals.show(left, right, memory, short)
        if self.ranking.ties.possible:
            text = self.ranking.ties.text(percent)
            self._tell(self._ties_line, text, "No ties at the cut: scores alone decide")
        if self._small_line.display:
            text = self.selection.too_small(percent)
            self._tell(self._small_line, text, "Every type is large enough for this percentage")

    def _show_lines(self) -> None:
        """Keep a line for what only some percentages bring, where any does."""
        least = self.selection.smallest_percent()
        self._ties_line.display = self.ranking.ties.possible
        self._small_line.display = bool(self.selection.too_small(least))

    @staticmethod
    def _tell(line: Static, text: str, otherwise: str) -> None:
        content = Content(f"! {text}") if text else Content.styled(otherwise, "$foreground 60%")
        line.update(content, layout=False)

    def show_notes(self) -> None:
        """What the user should know of the result, and where it was saved."""
        lines = []
        if found := facts(self.result):
            lines.append(Content.styled(f"! {' · '.join(found)}", "$warning"))
        if self.result.head and not self.head:
            lines.append(Content.styled(f"! {FROZEN_HEAD}", "$warning"))
        if self.saved is not None:
            lines.append(Content.styled(f"✓ Saved {printable(str(self.saved))}", "$success"))
        self._notes.update(Content("\n").join(lines))
        self._notes.display = bool(lines)

    # -- views --------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        """Offer the YAML as a view where it does not stand beside the others."""
        wide = event.size.width >= WIDE
        self.bar.show_names(VIEWS[:2] if wide else VIEWS)
        self._switch(TABLE if wide and self.view_name == YAML else self.view_name)

    def action_view(self, name: str) -> None:
        """Show a view, and give it the keys unless the slider has them."""
        if name != YAML or self.size.width < WIDE:
            self._switch(name)
        if self.focused is not self.slider:
            self._focus_view(name)

    @work(group=KEYS_WAIT)
    async def _focus_view(self, name: str) -> None:
        """Give a view the keys once it is on show: it may only be mounted now."""
        shown = asyncio.Event()
        self.call_after_refresh(shown.set)
        await shown.wait()
        self._widget(name).focus()

    def _widget(self, name: str) -> Widget:
        if name == HEAT and self.heatmap is not None:
            return self.heatmap
        return self.preview if name == YAML else self.table

    def _switch(self, name: str) -> None:
        self.view_name = self.bar.current = name
        if name == HEAT and self.heatmap is None:
            self.heatmap = Heatmap(self.selection)
            self.heatmap.set_head(self.head)
            self.query_one("#body").mount(self.heatmap, before=self.preview)
        self.set_class(name == TABLE, "-table")
        self.set_class(name == HEAT, "-heat")
        self.set_class(name == YAML, "-yaml")
        self._show_order()
        self.apply(self.percent)

    @on(ViewBar.Chosen)
    def _view_chosen(self, event: ViewBar.Chosen) -> None:
        self.action_view(event.name)

    @on(ScoreTable.Reordered)
    def _show_order(self) -> None:
        by = f"sorted by {self.table.sorted_by}" if self.view_name == TABLE else ""
        if not self._rankings.several:
            self.bar.show_note(by)
            return
        metric = self.ranking.metric
        what = f"{metric.title} (v): {metric.meaning}"
        self.bar.show_note(f"{what} · {by}" if by else what, what, f"{metric.title} (v)")

    # -- keys ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what this result has a use for."""
        if isinstance(self.focused, FilterInput):
            return action == "back"  # every other key is text for the filter
        if action == "experts":
            return bool(self.result.scores.parts) and self.view_name == TABLE
        return bool(self.result.head) if action == "head" else True

    def action_percent(self, by: int) -> None:
        """Move the slider, whatever has the focus."""
        self.slider.action_step(by)

    def action_head(self) -> None:
        """Train embeddings and head, as the reference does, or freeze them."""
        self.head = not self.head
        self.pane.set_head(self.head)
        if self.heatmap is not None:
            self.heatmap.set_head(self.head)
        self.show_notes()
        self.apply(self.percent)

    def action_metric(self) -> None:
        """Rank by the next metric of this result."""
        try:
            self.show_metric(self._rankings.after(self.ranking.metric.name))
        except ResultsError as error:
            self._refuse_metric(error)

    def show_metric(self, name: str) -> None:
        """Rank by a metric: everything that is shown follows in one frame."""
        try:
            self.ranking = self._rankings.of(name)
        except ResultsError as error:
            self._refuse_metric(error)
            return
        self._show_lines()
        self.apply(self.percent)
        self._show_order()

    def _refuse_metric(self, error: ResultsError) -> None:
        self.notify(str(error), title="No such metric here", severity="warning", markup=False)

    def action_sort(self) -> None:
        """Sort the table otherwise."""
        self._show_table()
        self.table.action_sort()

    def action_reverse(self) -> None:
        """Turn the table around."""
        self._show_table()
        self.table.action_reverse()

    def action_jump(self, step: int) -> None:
        """Go to another selected layer."""
        self._show_table()
        self.table.action_jump(step)

    @property
    def current_row(self) -> int | None:
        """The row of the scores under the cursor of the view; the first of a cell of several."""
        if self.view_name == HEAT and self.heatmap is not None:
            members = self.heatmap.foot.members
            return int(members[0]) if len(members) else None
        return self.table.current

    def action_filter(self) -> None:
        """Type what layers or types must contain."""
        self._show_table()
        self.pane.open_filter()

    def _show_table(self) -> None:
        if self.view_name != TABLE:
            self._switch(TABLE)

    def action_back(self) -> None:
        """Clear the filter if there is one, else leave."""
        if self.pane.filtering:
            self.pane.close_filter()
        else:
            self.dismiss()
