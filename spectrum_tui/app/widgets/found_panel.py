"""What a model turned out to be, and the way on from there: download it, or continue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Button, ProgressBar, Static

from spectrum_tui.app.widgets.cells import bar
from spectrum_tui.app.widgets.line_view import TextScroll
from spectrum_tui.core import numbers
from spectrum_tui.core.events import NETWORK_WAITS
from spectrum_tui.core.layer_types import Group
from spectrum_tui.core.requests import DownloadProgress, ModelSummary
from spectrum_tui.core.settings import DEMO

State = Literal["empty", "reading", "found", "downloading"]

DOWNLOAD_SECONDS = 0.2
"""Between two looks at a running download."""
STACKED = 70
"""Columns below which three buttons, or how far a download is, do not fit into one line."""

DEMO_FACT = "demonstration model: made-up weights, to try things out"
HOW_IT_GOES = (
    (
        "1  Model",
        "Enter a folder, a Hugging Face id or an address, then press enter. Only headers are read.",
    ),
    ("2  Layers", "Tick the layer types to compare; you see how long it will take."),
    ("3  Scan", "Every matrix gets a signal-to-noise ratio. Stop and continue whenever you like."),
    ("4  Results", "Move one slider, see what would train, save the YAML for your trainer."),
)


class GroupShares(Static):
    """Where the parameters are: a bar for each group of layer types."""

    ALLOW_SELECT = False

    def show(self, summary: ModelSummary) -> None:
        held: dict[Group, int] = {}
        for info in summary.types:
            held[info.group] = held.get(info.group, 0) + info.parameters
        whole = max(1, sum(held.values()))
        lines = [Content.styled("Where the parameters are", "dim")]
        for group in sorted(held, key=list(Group).index):
            lines.append(_share_line(group, held[group], held[group] / whole))
        self.update(Content("\n").join(lines))


def _share_line(group: Group, parameters: int, share: float) -> Content:
    figures = f"{numbers.count(parameters):>7}{numbers.short_percent(share):>9}"
    return Content.assemble(
        (f"{group:<21}", "dim"), (bar(share, 14), "$primary on $panel"), f"  {figures}"
    )


class FoundPanel(Vertical):
    """Four states: how it goes, reading, found, downloading."""

    DEFAULT_CSS = """
    FoundPanel {
        & > #found-facts { height: 1fr; scrollbar-size: 1 1; }
        & #found-groups { display: none; margin: 1 0 0 0; }
        & > #found-bar { width: 1fr; height: 1; display: none; }
        & > #found-bar > Bar { width: 1fr; }
        & > #found-actions { height: 1; display: none; }
        & > #found-actions Button { display: none; margin: 0 2 0 0; }
        & > #found-actions > Static { width: 1fr; color: $foreground 70%; text-wrap: nowrap; }
        & #found-hub { display: none; layout: horizontal; width: auto; height: 1; }
        &.-remote > #found-actions Button { min-width: 12; margin: 0 1 0 0; }
        &.-found > #found-actions, &.-downloading > #found-actions { display: block; }
        &.-found #continue { display: block; }
        &.-found.-remote #found-hub { display: block; }
        &.-found.-remote #found-hub > Button { display: block; }
        &.-found.-full #continue { display: none; }
        &.-downloading #found-bar, &.-downloading #cancel { display: block; }
        &.-stacked.-found.-remote > #found-actions, &.-stacked.-downloading > #found-actions {
            layout: vertical; height: auto;
        }
        &.-stacked.-found.-remote > #found-actions > Static { display: none; }
    }
    """

    def __init__(self, *, on_cluster: bool = False, id: str | None = None) -> None:
        """On a cluster the nodes read a model of the hub: it is not downloaded to this machine."""
        super().__init__(id=id)
        self._on_cluster = on_cluster
        self.offers_download = False
        self.state: State = "empty"
        self.facts: list[tuple[str, str]] = []
        self._table = Static()
        self._groups = GroupShares(id="found-groups")
        self._bar = ProgressBar(show_eta=False, id="found-bar")
        self.status = ""
        """The line beside the buttons: what enter does, or how far the download is."""
        self._hint = Static("", markup=False)

    def compose(self) -> ComposeResult:
        with TextScroll(id="found-facts", can_focus=False):
            yield self._table
            yield self._groups
        yield self._bar
        with Horizontal(id="found-actions"):
            yield Button("Continue", id="continue", variant="primary", compact=True)
            with Container(id="found-hub"):
                yield Button(
                    "Scan without downloading", id="stream", variant="primary", compact=True
                )
                yield Button("Download", id="download", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", variant="default", compact=True)
            yield self._hint

    def on_mount(self) -> None:
        self.show_empty()

    def on_resize(self, event: Resize) -> None:
        """Put what does not fit beside a button below it."""
        self.set_class(event.size.width < STACKED, "-stacked")

    def show_empty(self) -> None:
        self._become("empty", "Steps")
        self._show(HOW_IT_GOES)

    def show_reading(self, model: str) -> None:
        self._become("reading", "Reading")
        name = DEMO_FACT if model == DEMO else model
        self._show([("Model", name), ("", "Reading the headers …")])

    def show_found(self, summary: ModelSummary) -> None:
        self._become("found", "Found")
        self.offers_download = summary.can_be_downloaded and not self._on_cluster
        self.set_class(self.offers_download, "-remote")
        self.set_class(self.offers_download and not summary.fits, "-full")
        self.show_facts(summary)
        missing = numbers.size(summary.missing_bytes)
        self.query_one("#download", Button).label = f"Download {missing}"
        self._tell("enter or ctrl+n: choose layers" if summary.is_local else "enter: layers")

    @property
    def default(self) -> Button:
        """What enter does with a model that was found: what its disk allows."""
        return self.query_one("#stream" if self.has_class("-full") else "#continue", Button)

    def show_facts(self, summary: ModelSummary) -> None:
        self._show(list(_fact_lines(summary)))
        self._groups.show(summary)

    def follow(self, download: Callable[[], DownloadProgress | None]) -> None:
        """Show how far a download is, until something else is to be shown."""
        self.show_download(download() if self.state == "downloading" else None)
        self.set_timer(DOWNLOAD_SECONDS, partial(self._follow_on, download))

    def _follow_on(self, download: Callable[[], DownloadProgress | None]) -> None:
        if self.state == "downloading":
            self.follow(download)

    def show_download(self, progress: DownloadProgress | None) -> None:
        if self.state != "downloading":
            self._become("downloading", "Downloading")
            self._bar.update(total=None, progress=0)
        if progress is None or not progress.total:
            self._tell("asking the hub …")
            return
        self._bar.update(total=progress.total, progress=progress.done)
        self._tell(download_line(progress))

    def _show(self, facts: Sequence[tuple[str, str]]) -> None:
        """One table instead of a widget for each cell: 36 widgets cost 0.15 s at the start."""
        self.facts = list(facts)
        table = Table.grid()
        table.add_column(width=15, style="dim")
        table.add_column(overflow="fold")
        for label, value in facts:
            table.add_row(Text(label), Text(value))
            if self.state == "empty":
                table.add_row()
        self._table.update(table)

    def _tell(self, status: str) -> None:
        self.status = status
        self._hint.update(status)

    def _become(self, state: State, title: str) -> None:
        self.state = state
        self.border_title = title
        self.update_classes({f"-{name}": name == state for name in get_args(State)})


def download_line(progress: DownloadProgress) -> str:
    done, total = numbers.size(progress.done), numbers.size(progress.total)
    if progress.waits:
        return f"{done} of {total} · {NETWORK_WAITS}"
    if progress.speed <= 0:
        return f"{done} of {total}"
    left = numbers.duration((progress.total - progress.done) / progress.speed)
    return f"{done} of {total} · {numbers.size(progress.speed)}/s · about {left} left"


def _fact_lines(summary: ModelSummary) -> Iterator[tuple[str, str]]:
    if summary.origin == "demo":
        yield "Model", DEMO_FACT
    yield "Architecture", summary.architecture
    if summary.naming:
        yield "Names", f"as in {summary.naming}"
    yield (
        "Parameters",
        f"{parameters_of(summary)} in {numbers.counted(summary.tensors, 'tensor')}",
    )
    yield "Weights", _weights(summary)
    if summary.revision:
        yield "Commit", summary.revision[:12]
    yield "On this disk", _local(summary)
    matrices = [t for t in summary.types if not t.one_dimensional]
    others = len(summary.types) - len(matrices)
    more = f", {numbers.counted(others, 'other')}" if others else ""
    yield "Layer types", f"{len(matrices):,} of matrices{more}"
    if summary.scored:
        # Norms are scored where they are asked for alone.
        counted = (t for t in summary.types if not t.one_dimensional or t.name in summary.scored)
        layers = sum(t.layers for t in counted)
        scored = numbers.part_of(sum(summary.scored.values()), layers, "layer", "is", "are")
        fast = sum(summary.scored_fast.values())
        more = f", {fast:,} in fast precision" if fast else ""
        yield "Earlier scan", f"{scored} scored already{more}"
    if summary.skipped:
        name, reason = summary.skipped[0]
        more = f" and {len(summary.skipped) - 1:,} more" if len(summary.skipped) > 1 else ""
        yield "Not scored", f"{name}{more}: {reason}"
    for note in summary.notes[:3]:
        yield "Note", note


def parameters_of(summary: ModelSummary) -> str:
    """Return how many parameters a model has; those that are stored, until it is known which of
    them its class has."""
    return f"{'' if summary.naming else 'about '}{numbers.count(summary.parameters)}"


def _weights(summary: ModelSummary) -> str:
    files = numbers.counted(summary.shards, "file", "shards")
    names = list(summary.dtypes)
    if len(names) == 1:
        return f"{numbers.size(summary.nbytes)} in {files}, all {names[0]}"
    parts = ", ".join(f"{name} {numbers.size(n)}" for name, n in summary.dtypes.items())
    return f"{numbers.size(summary.nbytes)} in {files}: {parts}"


def _local(summary: ModelSummary) -> str:
    if summary.mounted:
        return "a mount, which fetches what a scan reads"
    if summary.is_local:
        return "all of it"
    if not summary.can_be_downloaded:
        return "nothing: a scan reads it where it is"
    held = f"{numbers.size(summary.local_bytes)} of {numbers.size(summary.nbytes)}"
    held = held if summary.local_bytes else "nothing yet"
    if summary.free is None or summary.fits:
        return held
    missing, free = numbers.size(summary.missing_bytes), numbers.size(summary.free)
    return f"{held}; {missing} do not fit into {free} that are free"
