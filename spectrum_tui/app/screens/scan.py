"""The scan while it runs, and what can be done when it stops before the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.messages import (
    AddRequested,
    ForceStopRequested,
    LibraryRequested,
    NextRequested,
    PartialResultsRequested,
    ResumeRequested,
    StopRequested,
)
from spectrum_tui.app.scan_queue import Queued, ScanQueue, unscanned
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.queue_view import QueueView
from spectrum_tui.app.widgets.scan_map import ScanMap
from spectrum_tui.app.widgets.scan_matrix import ScanMatrix
from spectrum_tui.app.widgets.scan_summary import ScanSummary
from spectrum_tui.app.widgets.score_feed import ScoreFeed
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.type_progress import TypeProgressView
from spectrum_tui.core import numbers
from spectrum_tui.worker.progress import InWork, LayerNames, Phase, ScanProgress, Snapshot

WAITING = {
    "starting": "Waiting for the scan process …",
    "fetching": "The scan begins when all files are here.",
}
"""What stands in the place of the matrices in work."""
OVER: tuple[Phase, ...] = ("stopped", "failed", "died")
"""The phases in which a scan has ended before its time."""
AT_ONCE = 5_000
"""Scores that the map takes in with one poll: 5 ms. Those of an earlier scan come all at once."""
POLLS_PER_SECOND = 12
"""A thousand messages a second would cost the loop 90 % of a core; this costs 13 %."""


class ScanScreen(NamedKeys, Screen[None]):
    """Polls a `ScanProgress`; knows nothing of the process behind it."""

    AUTO_FOCUS = "ScoreFeed"
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
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", tooltip="Stop after the matrices in progress; keep all"),
        Binding("s", "force", "Stop at once", tooltip="Do not wait for the matrices in progress"),
        Binding("g", "go_on", "Continue", tooltip="Continue with the layers that have no score"),
        Binding("r", "results", "Results", tooltip="Look at what has been scored so far"),
        Binding("n", "next", "Next model", tooltip="Go on with the model that waits first"),
        Binding("f", "failures", "Failures", tooltip="Show failures only, or every score"),
        Binding("t", "view('lists')", "Lists", tooltip="Types, and the newest scores"),
        Binding("m", "view('map')", "Map", tooltip="The map that fills as scores come"),
        Binding("a", "add", "Add model", tooltip="Scan another model after this one"),
        hidden_key("w", "queue", "Queue", "List the models that wait, and those that are done"),
        hidden_key("ctrl+l", "library", "Library", "Open the scores of other models meanwhile"),
        hidden_key("escape", "stop", "Stop", "Stop after the matrices in progress"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Back to the layers"),
    ]

    def __init__(self, progress: ScanProgress, model: str, queue: ScanQueue | None = None) -> None:
        """`queue` is followed: which of its models is scanned, and which wait."""
        super().__init__()
        self._progress = progress
        self._model = model
        self._queue = queue or ScanQueue()
        self._queue_shown: tuple[int, bool] | None = None
        self._scanned: Queued | None = None
        self._queue_view = QueueView()
        self._only_failures = False
        self._phase: Phase = "idle"
        self._failed = 0
        self._summary = ScanSummary(id="summary")
        self._work = Static("", markup=False, id="work")
        self._shown_work = Content()
        self._types = TypeProgressView(id="types")
        self._scores = ScoreFeed(id="scores")
        self._lists = Container(self._types, self._scores, id="lists")
        self._view: Literal["map", "lists"] = "map"
        self._map: ScanMap | None = None
        self._mapped = LayerNames()
        self._built: ScanMatrix | None = None

    def compose(self) -> ComposeResult:
        yield StepBar(3, self._model)
        yield self._summary
        yield self._queue_view
        yield self._work
        yield self._lists
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
        self._show_queue()
        scan = self._progress.snapshot()
        self._show_map(scan)
        if not scan.live and scan.phase == self._phase:
            return
        self._summary.show(scan)
        self._types.update(scan.types)
        self._show_scores(scan)
        self._show_work(scan)
        if (scan.phase, scan.failed) != (self._phase, self._failed):
            self._enter(scan)

    def _show_queue(self) -> None:
        """Show what has changed of the queue; another model begins with no map."""
        shown = (self._queue.version, self.has_class("-high"))
        if shown == self._queue_shown:
            return
        self._queue_shown = shown
        self._queue_view.show(self._queue, lines=self.has_class("-high"))
        current, before = self._queue.current, self._scanned
        self._scanned = current
        self.refresh_bindings()
        if current is None or before is None or current is before:
            return
        self.query_one(StepBar).detail = current.name
        self._only_failures = False
        if self._map is not None:
            self._map.remove()
            self._map = None
            self._show_view()

    def _show_map(self, scan: Snapshot) -> None:
        """Fill the map, once it is made: that takes 0.3 s for 60,000 layers, on a thread."""
        names = self._progress.names
        if names is not self._mapped:
            self._mapped, self._built = names, None
            if names.layers:
                threading.Thread(target=self._build, args=(names,), daemon=True).start()
        if self._built is not None and (self._map is None or self._map.matrix is not self._built):
            self._mount_map(self._built)
        elif self._map is not None and self._built is not None and self._on_map:
            # Hidden, it would have the screen laid out.
            scores = self._progress.scores(self._map.taken)[:AT_ONCE]
            if scores or scan.live or scan.phase != self._phase:
                self._map.follow(scan, scores)

    def _build(self, names: LayerNames) -> None:
        matrix = ScanMatrix(names, self._progress.metric)
        if names is self._mapped:
            self._built = matrix

    def _mount_map(self, matrix: ScanMatrix) -> None:
        """Put a map in the place of the lists, or of that of the scan before."""
        old, self._map = self._map, ScanMap(matrix)
        self.mount(self._map, before=self._lists)
        if old is not None:
            self._map.go_to(old.place)
            old.remove()
        self._show_view()

    def _enter(self, scan: Snapshot) -> None:
        """Another phase, or the first failure: other keys work now."""
        over = scan.phase in OVER
        if (over or scan.phase == "finished") and scan.phase != self._phase:
            by_itself(self)
        if over and scan.phase != self._phase:
            self.query_one("#go-on", Button).focus()
        self._phase, self._failed = scan.phase, scan.failed
        self.set_class(over, "-over")
        self._summary.show_next(self._queue.waiting)
        self._size_work(scan.batch_size)
        self.refresh_bindings()
        self._give_keys()

    def on_resize(self) -> None:
        self._size_work(self._progress.snapshot().batch_size)

    def _size_work(self, batch_size: int) -> None:
        most = 8 if self.has_class("-high") else 1 if self._on_map else 3
        self._work.styles.height = 2 + max(1, min(most, batch_size))
        # The map marks what is in progress; below 22 lines it needs the room.
        needed = self._on_map and self.size.height < 22
        self._work.display = not (needed or self.has_class("-over"))

    def _show_view(self) -> None:
        """Show the map or the lists; of these the failures alone, where they are asked for."""
        # A class on the screen would style every widget of it anew: 20 ms for a key.
        on_map = self._map is not None and self._view == "map" and not self._only_failures
        if self._map is not None:
            self._map.display = on_map
        self._lists.display = not on_map
        self._types.display = not self._only_failures
        self._size_work(self._progress.snapshot().batch_size)
        self.refresh_bindings()
        self.call_after_refresh(self._give_keys)

    def _give_keys(self) -> None:
        """Give the keys to what is on show, unless there are buttons."""
        if not self.has_class("-over"):
            (self._map if self._map is not None and self._on_map else self._scores).focus()

    @property
    def place(self) -> str:
        """The layer under the cursor of the map, "" without one."""
        return self._map.place if self._map is not None else ""

    @property
    def _on_map(self) -> bool:
        return self._map is not None and self._map.display

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
        shown = oldest if len(oldest) <= room else oldest[: max(1, room - 1)]
        now = self._progress.now()
        lines = [self._work_line(work, now) for work in shown]
        if len(shown) < len(oldest):
            lines.append(Content.styled(f"and {len(oldest) - len(shown)} more", MUTED))
        yield from [Content("  ").join(lines)] if room == 1 and lines else lines
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

    def action_next(self) -> None:
        self.post_message(NextRequested())

    def action_add(self) -> None:
        self.post_message(AddRequested())

    def action_library(self) -> None:
        self.post_message(LibraryRequested())

    def action_queue(self) -> None:
        from spectrum_tui.app.screens.queue import QueueScreen

        self.app.push_screen(QueueScreen(self._queue))

    @on(Button.Pressed, "#back")
    def action_back(self) -> None:
        """Go back to the layers; ask first where models wait."""
        from spectrum_tui.app.screens.confirm import ConfirmScreen

        lost = " ".join(unscanned(self._queue))
        if not lost:
            self.dismiss()
            return
        question = ConfirmScreen("Leave the queue?", lost, "Leave", "Stay")
        self.app.push_screen(question, self._leave)

    def _leave(self, leave: bool | None) -> None:
        if leave:
            self._queue.drop_waiting()
            self.dismiss()

    def action_failures(self) -> None:
        self._only_failures = not self._only_failures
        self._show_scores(self._progress.snapshot())
        self._show_view()

    def action_view(self, view: Literal["map", "lists"]) -> None:
        self._view, self._only_failures = view, False
        self._show_scores(self._progress.snapshot())
        self._show_view()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop":
                return self._phase in ("starting", "fetching", "running")
            case "force":
                return self._phase == "stopping"
            case "go_on":
                return self._phase in OVER
            case "results" if not self._progress.snapshot().layers:
                return False
            case "next" if not self._queue.waiting:
                return False
            case "next" | "results" | "back":
                return self._phase in (*OVER, "finished")
            case "queue" | "failures":
                return self._queue.is_several if action == "queue" else self._failed > 0
            case "view":
                return self._map is not None and (parameters[0] == "map") is not self._on_map
        return True
