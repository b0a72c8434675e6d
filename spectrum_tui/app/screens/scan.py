"""The scan while it runs, and what can be done when it stops before the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.messages import (
    ForceStopRequested,
    PartialResultsRequested,
    ResumeRequested,
    StopRequested,
)
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.scan_summary import ScanSummary
from spectrum_tui.app.widgets.score_feed import ScoreFeed
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.type_progress import TypeProgressView
from spectrum_tui.core import numbers
from spectrum_tui.worker.progress import InWork, Phase, ScanProgress, Snapshot

WAITING = {
    "starting": "Waiting for the scan process …",
    "fetching": "The scan begins when all files are here.",
}
"""What stands in the place of the matrices in work."""
POLLS_PER_SECOND = 12
"""A thousand messages a second would cost the loop 90 % of a core; this costs 13 %."""


class ScanScreen(NamedKeys, Screen[None]):
    """Polls a `ScanProgress`; knows nothing of the process behind it."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 (Textual's type)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012 (Textual's type)
    DEFAULT_CSS = """
    ScanScreen {
        & #work, & #types, & #scores { border: round $panel; border-title-color: $primary; }
        & #work { height: 5; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-high ScanSummary { padding: 1 2; }
        &.-high #scan-figures, &.-high #scan-note { margin: 1 0 0 0; }
        &.-high #scan-actions { margin: 1 0 0 0; }
        & #lists { layout: horizontal; height: 1fr; }
        & #types { width: 1fr; height: 100%; padding: 0 1; }
        & #scores { width: 1fr; height: 100%; padding: 0 1; }
        &.-wide #scores { width: 1.3fr; }
        & #types:focus, & #scores:focus { border: round $accent; }
        &.-over #work { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", tooltip="Stop after the matrices in progress; keep all"),
        Binding("s", "force", "Stop at once", tooltip="Do not wait for the matrices in progress"),
        Binding("g", "go_on", "Continue", tooltip="Continue with the layers that have no score"),
        Binding("r", "results", "Results", tooltip="Look at what has been scored so far"),
        Binding("f", "failures", "Failures", tooltip="Show failures only, or every score"),
        hidden_key("escape", "stop", "Stop", "Stop after the matrices in progress"),
        Binding("escape", "dismiss", "Back", key_display="esc", tooltip="Back to the layers"),
    ]

    def __init__(self, progress: ScanProgress, model: str) -> None:
        super().__init__()
        self._progress = progress
        self._model = model
        self._only_failures = False
        self._phase: Phase = "idle"
        self._failed = 0
        self._summary = ScanSummary(id="summary")
        self._work = Static("", markup=False, id="work")
        self._shown_work = Content()
        self._types = TypeProgressView(id="types")
        self._scores = ScoreFeed(id="scores")

    def compose(self) -> ComposeResult:
        yield StepBar(3, self._model)
        yield self._summary
        yield self._work
        with Container(id="lists"):
            yield self._types
            yield self._scores
        yield KeyFooter()

    def on_mount(self) -> None:
        self._work.border_title = "In progress"
        self._types.border_title = "Layer types"
        self.poll()
        self.set_interval(1 / POLLS_PER_SECOND, self.poll)

    def poll(self) -> None:
        """Show the state as of now; costs nothing worth while another screen is on top."""
        if not self.is_current and self._phase not in ("idle", "starting"):
            return
        scan = self._progress.snapshot()
        if not scan.live and scan.phase == self._phase:
            return
        self._summary.show(scan)
        self._types.update(scan.types)
        self._show_scores(scan)
        self._show_work(scan)
        if (scan.phase, scan.failed) != (self._phase, self._failed):
            self._enter(scan)

    def _enter(self, scan: Snapshot) -> None:
        """Another phase, or the first failure: other keys work now."""
        over = scan.phase in ("stopped", "failed", "died")
        if over and scan.phase != self._phase:
            self.query_one("#go-on", Button).focus()
        self._phase, self._failed = scan.phase, scan.failed
        self._size_work(scan.batch_size)
        self.set_class(over, "-over")
        self.refresh_bindings()

    def on_resize(self) -> None:
        self._size_work(self._progress.snapshot().batch_size)

    def _size_work(self, batch_size: int) -> None:
        most = 8 if self.has_class("-high") else 3
        self._work.styles.height = 2 + max(1, min(most, batch_size))

    def _show_scores(self, scan: Snapshot) -> None:
        if self._only_failures:
            self._title_scores(f"Failures: {scan.failed:,}")
            self._scores.update(scan.failures[::-1], "No failures.")
            return
        self._title_scores("Scores, newest first")
        waiting = "No scores yet." if scan.live or not scan.resumed else "All from an earlier scan."
        self._scores.update(scan.recent, waiting)

    def _title_scores(self, title: str) -> None:
        if title != self._scores.border_title:  # set again, it would be drawn again
            self._scores.border_title = title

    def _show_work(self, scan: Snapshot) -> None:
        # Without a layout: its size is set. Twelve layouts a second would keep a key waiting.
        content = Content("\n").join(self._work_lines(scan))
        if content != self._shown_work:
            self._shown_work = content
            self._work.update(content, layout=False)

    def _work_lines(self, scan: Snapshot) -> Iterator[Content]:
        room = max(1, self._work.content_size.height)
        oldest = sorted(scan.in_work, key=lambda work: work.since)
        shown = oldest if len(oldest) <= room else oldest[: room - 1]
        now = self._progress.now()
        for work in shown:
            yield self._work_line(work, now)
        if len(shown) < len(oldest):
            yield Content.styled(f"and {len(oldest) - len(shown)} more", MUTED)
        if not oldest:
            waiting = WAITING.get(scan.phase, "–")
            yield Content.styled(waiting, MUTED)

    def _work_line(self, work: InWork, now: float) -> Content:
        since = numbers.duration(now - work.since)
        return Content.assemble(
            ("● ", "$accent"),
            (f"{since:>7}  ", MUTED),
            (f"{numbers.shape(*work.shape):>15}  ", MUTED),
            Content(work.layer),
        )

    # -- what the user does --------------------------------------------------------------------

    def action_stop(self) -> None:
        self.post_message(StopRequested())

    def action_force(self) -> None:
        self.post_message(ForceStopRequested())

    def action_go_on(self) -> None:
        self.post_message(ResumeRequested())

    def action_results(self) -> None:
        self.post_message(PartialResultsRequested())

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.dismiss()

    def action_failures(self) -> None:
        self._only_failures = not self._only_failures
        # A class on the screen would style every widget of it anew: 20 ms for a key.
        self._types.display = not self._only_failures
        self._show_scores(self._progress.snapshot())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop":
                return self._phase in ("starting", "fetching", "running")
            case "force":
                return self._phase == "stopping"
            case "results" if not self._progress.snapshot().layers:
                return False
            case "go_on" | "results" | "dismiss":
                return self._phase in ("stopped", "failed", "died", "finished")
            case "failures":
                return self._failed > 0
        return True
