"""A proof: its rows while they run, what may be said of them, and the way on with one of them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.messages import KindUsed, TakeRequested
from spectrum_tui.app.proof_run import ProofView
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.line_view import LineView, TextScroll
from spectrum_tui.app.widgets.loss_chart import Curve, LossChart, window_of
from spectrum_tui.app.widgets.proof_table import ProofRow, ProofTable, reason
from spectrum_tui.app.widgets.proof_words import live_lines, verdict_lines, what_of
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.files import is_file
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.plan import ASK_ABOVE
from spectrum_tui.core.proof.rates import rate_text
from spectrum_tui.core.proof.store import PLOT, PROOF, TABLE

if TYPE_CHECKING:
    from spectrum_tui.app.screens.result_state import ResultState

POLLS_PER_SECOND = 6
LEAST_WITH_CURVES = 22
"""Lines of a terminal from which the curves are shown."""


class Source(Protocol):
    """Where a proof comes from: one that runs, or one that was read."""

    @property
    def view(self) -> ProofView:
        """The proof as it is now."""

    def stop(self) -> None:
        """End the running row; everything finished is kept."""

    def begin(self, *, again: bool = False) -> None:
        """Run what is left."""


class Saved:
    """A proof that was read from a file: nothing of it runs."""

    def __init__(self, view: ProofView) -> None:
        self.view = view

    def stop(self) -> None:
        """Do nothing."""

    def begin(self, *, again: bool = False) -> None:
        """Do nothing."""


class ProofScreen(NamedKeys, Screen[None]):
    """What is said above, the table of the methods, and the curves below."""

    AUTO_FOCUS = "ProofTable"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (140, "-wide")]  # noqa: RUF012 (Textual's type)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012 (Textual's type)
    DEFAULT_CSS = """
    ProofScreen {
        & #said { height: auto; max-height: 6; background: $surface; }
        &.-high #said { max-height: 12; padding: 1 2; }
        & #said.-live { max-height: 7; }
        & #table { height: 8; max-height: 50%; }
        & #detail { height: 1; padding: 0 2; color: $foreground 70%; text-wrap: nowrap;
            text-overflow: ellipsis; }
        &.-high #detail { height: 2; text-wrap: wrap; }
        & #curves { height: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", tooltip="Stop now; every finished row is kept"),
        Binding("s", "go_on", "Go on", tooltip="Run the rows that are left"),
        Binding("enter", "take", "Take over", tooltip="Open the selection of this row"),
        Binding("w", "files", "Files", tooltip="Say where table, plot and all rows are"),
        hidden_key("a", "again", "Again", "Run the rows again that failed"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Leave; asks while rows run"),
    ]

    def __init__(self, source: Source, state: ResultState | None = None) -> None:
        """`state`: what of the results below takes a row's selection over, where it is there."""
        super().__init__()
        self._source = source
        self._state = state
        self.view = source.view
        self._said = Static(markup=False)
        self.table = ProofTable()
        self._detail = Static(markup=False, id="detail")
        self.chart = LossChart()
        self._followed = True
        """Whether the cursor stays on the row that runs."""
        self._asked = False
        self._shown: object = None
        self._shown_about = Content()

    def compose(self) -> ComposeResult:
        yield StepBar(0, f"proof of {printable(self.view.model)}")
        with TextScroll(self._said, id="said", classes="panel"):
            pass
        with Vertical(self.table, id="table", classes="panel") as panel:
            panel.border_title = "Rows"
        yield self._detail
        with Vertical(self.chart, id="curves", classes="panel"):
            pass
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one("#table").styles.height = len(self.view.methods) + 3
        self.poll()
        if self.view.live:
            self.set_interval(1 / POLLS_PER_SECOND, self.poll)
        else:
            self._to_best()

    def on_resize(self) -> None:
        """Leave the curves out where they would have no room."""
        self.query_one("#curves").display = self.size.height >= LEAST_WITH_CURVES

    # -- what is shown -------------------------------------------------------------------------

    def poll(self) -> None:
        """Show the proof as of now."""
        before, view = self.view.phase, self._source.view
        if self.view.live and not view.live:
            by_itself(self)
        self.view = view
        if not view.live and self._shown == (view.phase, len(view.outcomes)):
            return
        self._shown = (view.phase, len(view.outcomes))
        self.table.show(view)
        if self._followed:
            self._follow(view)
        self._say(view)
        self._draw()
        if view.phase != before:
            self.refresh_bindings()
            if not view.live:
                self._to_best()
        if view.estimate > ASK_ABOVE and view.live and not self._asked:
            self._ask(view.estimate)

    def _follow(self, view: ProofView) -> None:
        if view.row is not None and view.row.method in view.methods:
            self.table.cursor = view.methods.index(view.row.method)

    def _to_best(self) -> None:
        """Begin on the row of the lowest loss, where one looks first."""
        proof = self.view.proof
        if self._followed and proof is not None and proof.verdict.best in self.view.methods:
            self.table.cursor = self.view.methods.index(proof.verdict.best)
            self._draw()

    def _say(self, view: ProofView) -> None:
        panel = self.query_one("#said")
        panel.set_class(view.live, "-live")
        lines = list(
            live_lines(view, panel.content_size.width) if view.live else verdict_lines(view)
        )
        panel.border_title = "Training" if view.live else "What the losses allow to be said"
        self._said.update(Content("\n").join(lines))
        self.call_after_refresh(self._say_more, panel)

    def _say_more(self, panel: Widget) -> None:
        """Tell where there is more to read than fits."""
        panel.border_subtitle = "tab, then ↓, reads on" if panel.max_scroll_y else ""

    @on(ProofTable.Moved)
    def _moved(self) -> None:
        self._followed = False

    @on(LineView.CursorMoved)
    def _draw(self) -> None:
        """Show what is known of the row under the cursor, and its curves before the others."""
        row = self.table.current
        if row is None:
            return
        about = self._about(row)
        if about != self._shown_about:
            self._shown_about = about
            self._detail.update(about)
        view = self.view
        curves = [
            Curve(one.curve, one.method == row.method)
            for one in view.outcomes
            if not one.trial and len(one.curve) > 1
        ]
        if view.row is not None:
            curves.append(Curve(view.curve, view.row.method == row.method))
        steps = max((points.points[-1][0] for points in curves if points.points), default=1)
        if view.row is not None:
            steps = max(steps, view.row.steps)
        self.chart.show(curves, steps)
        panel = self.query_one("#curves")
        panel.border_title = Content(f"Training loss: {row.label} bright, the others dim")
        window = window_of(steps)
        panel.border_subtitle = f"mean of {window} steps" if window > 1 else ""

    def _about(self, row: ProofRow) -> Content:
        """Return what the method is, and what its row is good for."""
        one = row.summary
        if one is not None and one.failed and not row.done:
            failed = one.failed[0]
            text = printable(f"{row.label}: {reason(failed)}")
            return Content.styled(text, "$error")
        parts = [what_of(row.method)]
        rate = self.view.rates.get(row.method)
        if rate is None and one is not None and math.isfinite(one.rate):
            rate = one.rate
        if rate is not None:
            parts.append(f"rate {rate_text(rate)}")
        if one is not None and row.done and math.isfinite(one.before):
            parts.append(f"held-out loss {one.before:.3f} before")
        if one is not None and one.failed and row.done:
            parts.append(f"{counted(len(one.failed), 'seed')} failed: {reason(one.failed[0])}")
        return Content(printable(f"{row.label}: {'; '.join(parts)}"))

    # -- stopping and going on -----------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        phase = self.view.phase
        match action:
            case "stop":
                return phase == "running"
            case "go_on":
                return phase in ("stopped", "failed")
            case "again":
                failed = any(one.error for one in self.view.outcomes)
                return failed and phase in ("stopped", "finished")
            case "take":
                row = self.table.current
                return row is not None
        return True

    def action_stop(self) -> None:
        self._source.stop()
        self.poll()

    def action_go_on(self) -> None:
        self._begin(again=False)

    def action_again(self) -> None:
        self._begin(again=True)

    def _begin(self, *, again: bool) -> None:
        self._followed = True
        self._source.begin(again=again)
        self.poll()
        self.refresh_bindings()
        self.set_interval(1 / POLLS_PER_SECOND, self.poll)

    def _ask(self, seconds: float) -> None:
        """Ask once, above an hour; rows run on meanwhile."""
        from spectrum_tui.app.screens.confirm import ConfirmScreen

        self._asked = True
        by_itself(self)
        question = ConfirmScreen(
            f"Go on for {numbers.about(seconds)}?",
            "That is what all rows take, by the first steps. Every finished row is kept, whenever "
            "you stop.",
            "Go on",
            "Stop",
        )
        self.app.push_screen(question, lambda go_on: None if go_on else self.action_stop())

    def action_back(self) -> None:
        """Leave; ask first while rows run."""
        if not self.view.live:
            self.dismiss()
            return
        from spectrum_tui.app.screens.confirm import ConfirmScreen

        question = ConfirmScreen(
            "Stop the proof and leave?",
            f"Every finished row is kept in {printable(self.view.folder.name)}; the same proof "
            "goes on from there.",
            "Leave",
            "Stay",
        )
        self.app.push_screen(question, self._leave)

    def _leave(self, leave: bool | None) -> None:
        if leave:
            self._source.stop()
            self.dismiss()

    # -- taking it away ------------------------------------------------------------------------

    def action_files(self) -> None:
        """Say where everything is: it is written already."""
        folder = self.view.folder
        written = [name for name in (TABLE, PLOT, PROOF) if is_file(folder / name)]
        if self.view.proof is None:
            names = "the finished rows are"
        else:  # a proof.json may have been copied without the others, or moved away
            names = f"{' and '.join(written) or 'no files'} {'is' if len(written) == 1 else 'are'}"
        said = f"{names} in {printable(str(folder))}"
        if self.view.live:
            said += f"; {TABLE}, {PLOT} and {PROOF} come at the end, or when you stop."
        self._detail.update(Content(said))
        self.app.clear_notifications()  # pressed again, it would stand there twice
        self.notify(said, title="Written", markup=False, timeout=15)

    async def action_take(self) -> None:
        """Go to the results with the selection of the row under the cursor."""
        row = self.table.current
        if row is None:
            return
        if self._state is None:
            self.post_message(TakeRequested(self.view, row.method))
        elif self.view.live:
            self.notify(
                "Stop the proof first: s. Every finished row is kept.",
                title="Rows still run", severity="warning", markup=False,
            )  # fmt: skip
        else:
            self._take(self._state, row)

    @work(group=KEYS_WAIT)
    async def _take(self, state: ResultState, row: ProofRow) -> None:
        """Choose in the results what this row trained, and go back to them."""
        from spectrum_tui.core.proof.taking import taken
        from spectrum_tui.core.results.selection import Selection

        method, embeddings = parse_method(row.method), self.view.embeddings
        try:
            found = await asyncio.to_thread(
                lambda: taken(method, Selection(state.result), embeddings=embeddings)
            )
            if found.metric != state.ranking.metric.name:
                state.rank_by(found.metric)
            state.shape(found.policy)
        except SpectrumError as error:
            self.notify(str(error), title="Not taken over", severity="warning", markup=False)
            return
        if found.kind:
            state.kind = found.kind
            self.post_message(KindUsed(found.kind))
        words = printable(state.choice.policy.words)
        self.app.notify(f"{row.label}: {words}", title="Taken over", markup=False)
        self.dismiss()
