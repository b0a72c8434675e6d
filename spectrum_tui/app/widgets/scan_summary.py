"""The scan as a whole: bar, figures, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Button, ProgressBar, Static

from spectrum_tui.app.scan_queue import Queued
from spectrum_tui.app.widgets.found_panel import download_line
from spectrum_tui.core import numbers
from spectrum_tui.core.events import KEPT
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.worker.progress import Snapshot
from spectrum_tui.worker.rates import network_line

NARROW = 70
"""Columns below which six figures touch each other."""
TITLES = {
    "idle": "Scan",
    "starting": "Starting",
    "fetching": "Downloading",
    "running": "Scanning",
    "stopping": "Stopping after the matrices in progress …",
    "finished": "Finished",
    "stopped": "Stopped",
    "failed": "The scan could not continue",
    "died": "The scan process died",
}


class Figure(Vertical):
    """A number with its name above it."""

    DEFAULT_CSS = """
    Figure {
        width: 1fr; height: 2;
        & > .figure--name { color: $foreground 60%; }
        & > .figure--value { width: 1fr; height: 1; text-style: bold; }
    }
    """

    def __init__(self, name: str, *, id: str) -> None:
        super().__init__(id=id)
        self._heading = Static(name, markup=False, classes="figure--name")
        self._value = Static("–", markup=False, classes="figure--value")
        self._text = "–"

    def compose(self) -> ComposeResult:
        yield self._heading
        yield self._value

    def show(self, text: str) -> None:
        """Show the value; the same value again costs nothing, another one no layout."""
        if text != self._text:
            self._text = text
            self._value.update(text, layout=False)


class ScanSummary(Vertical):
    """Bar, six figures, a sentence, and buttons once the scan is over."""

    DEFAULT_CSS = """
    ScanSummary {
        height: auto; border: round $panel; padding: 0 1; border-title-color: $primary;
        & > #scan-bar { width: 1fr; height: 1; }
        & > #scan-bar > Bar { width: 1fr; }
        & > #scan-figures { height: 2; }
        & > #scan-figures > #layers { width: 1.5fr; }
        & > #scan-figures > #elapsed { width: 1.1fr; }
        & > #scan-figures > #eta { width: 1.2fr; }
        & > #scan-figures > #bytes { width: 0.9fr; }
        & > #scan-figures > #memory { width: 0.8fr; }
        & > #scan-note { height: auto; color: $foreground 80%; }
        & > #scan-actions { height: 1; display: none; }
        & > #scan-actions > Button { margin: 0 2 0 0; }
        &.-narrow #rate, &.-narrow #bytes { display: none; }
        &.-over > #scan-actions { display: block; }
        &.-nothing #results { display: none; }
        &.-trouble { border: round $error; border-title-color: $error; }
        &.-stopping { border: round $warning; border-title-color: $warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        names = {
            "layers": "Layers",
            "elapsed": "Elapsed",
            "eta": "Left (est.)",
            "rate": "Matrices/s",
            "bytes": "Read/s",
            "memory": "Memory",
        }
        self._figures = {key: Figure(name, id=key) for key, name in names.items()}
        self._bar = ProgressBar(total=1.0, show_eta=False, id="scan-bar")
        self._note = Static("", markup=False, id="scan-note")
        self._note_text = ""

    def compose(self) -> ComposeResult:
        yield self._bar
        with Horizontal(id="scan-figures"):
            yield from self._figures.values()
        yield self._note
        with Horizontal(id="scan-actions"):
            yield Button(
                "Continue", id="go-on", variant="primary", compact=True, action="screen.go_on"
            )
            yield Button("Results so far", id="results", compact=True, action="screen.results")
            yield Button("", id="next", compact=True, action="screen.next")
            yield Button("Back", id="back", compact=True)

    def on_resize(self, event: Resize) -> None:
        """Leave out the speeds where the other figures need the room."""
        self.set_class(event.size.width < NARROW, "-narrow")

    def show_next(self, waiting: Sequence[Queued]) -> None:
        """Offer to go on with the first of the models that wait."""
        button = self.query_one("#next", Button)
        button.display = bool(waiting)
        if waiting:
            button.label = Content(f"Next: {waiting[0].name}")

    def show(self, scan: Snapshot) -> None:
        if TITLES[scan.phase] != self.border_title:  # set again, it would be drawn again
            self.border_title = TITLES[scan.phase]
        self.set_class(scan.phase in ("died", "failed"), "-trouble")
        self.set_class(scan.phase == "stopping", "-stopping")
        self.set_class(scan.phase in ("stopped", "failed", "died"), "-over")
        self.set_class(not scan.layers, "-nothing")
        self._bar.update(progress=scan.share)
        for key, text in _figures(scan):
            self._figures[key].show(text)
        note = _note(scan)
        if note.plain != self._note_text:
            self._note_text = note.plain
            self._note.update(note)


def _figures(scan: Snapshot) -> Iterator[tuple[str, str]]:
    yield "layers", f"{scan.done + scan.failed:,} of {scan.layers:,}" if scan.layers else "–"
    yield "elapsed", numbers.duration(scan.elapsed)
    yield "eta", "–" if scan.eta is None else numbers.duration(scan.eta)
    rate = scan.layers_per_second
    yield "rate", numbers.three_digits(rate) if rate else "–"
    streamed = scan.fetched.total or scan.fetched.done
    speed = scan.fetched.speed if streamed else scan.bytes_per_second
    yield "bytes", numbers.size(speed) if rate or streamed else "–"
    yield "memory", numbers.size(scan.memory) if scan.memory else "–"


def _note(scan: Snapshot) -> Content:
    reason = f"{without_kept(scan.reason)} " if scan.reason else ""
    style = "bold $error" if scan.phase in ("died", "failed") else ""
    return Content.assemble((reason, style), Content(" ".join(_sentences(scan))))


def _sentences(scan: Snapshot) -> Iterator[str]:
    match scan.phase:
        case "starting":
            yield "Getting ready …"
        case "fetching":
            yield f"Into the hub's cache first: {download_line(scan.download)}."
        case "running":
            at_once = counted(scan.batch_size, "matrix", "matrices")
            yield f"On {scan.device}, {at_once} at a time."
            if scan.fetched.total or scan.fetched.done:
                yield f"Streamed: {network_line(scan.fetched)}."
            if scan.fetched.waited:
                yield scan.fetched.waited
        case "stopping":
            yield "Press s again to stop at once; the matrices in progress would be lost."
        case "stopped" | "failed" | "died" if scan.download.total and not scan.layers:
            yield "Complete files are kept; continuing fetches the rest."
        case "failed" if scan.changed:
            yield "Continuing scans the changed files from the start."
        case "stopped" | "failed" | "died" if scan.layers:
            kept = part_of(scan.done, scan.layers, "layer", "is", "are")
            yield f"{kept} kept; continuing starts from there."
        case "finished":
            yield f"{counted(scan.done, 'layer is', 'layers are')} scored."
    if scan.resumed:
        yield f"{scan.resumed:,} came from an earlier scan."
    if scan.failed:
        yield f"✗ {scan.failed:,} failed."
    yield from filter(None, (scan.nodes, *map(without_kept, scan.notes)))


def without_kept(text: str) -> str:
    """Return a note or an error without the sentence for who has typed a command."""
    return text.removesuffix(KEPT).rstrip()
