"""The queue of a scan screen, as lines: what had its turn, what is scanned, what waits."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from spectrum_tui.app.scan_queue import Queued, ScanQueue, State, named
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core.numbers import counted

MOST_LINES = 4
"""Models with a line of their own on the scan screen."""
_MARKS: dict[State, tuple[str, str]] = {
    "done": ("✓", "$success"),
    "running": ("●", "$accent"),
    "waiting": ("·", MUTED),
    "stopped": ("■", "$warning"),
    "failed": ("✗", "$error"),
}
_SAID: dict[State, str] = {"running": "is scanned", "waiting": "waits", "stopped": "stopped"}


def line_of(model: Queued, width: int) -> Content:
    """Return `✓ name  24 layers scored`, names padded to `width` columns."""
    mark, colour = _MARKS[model.state]
    said = printable(model.said) or _SAID.get(model.state, "")
    if model.state == "waiting" and model.types:
        said += f", {counted(len(model.types), 'type')} of it"
    elif model.state in ("waiting", "running") and model.lacks_types:
        said += ", all types: it has none of the chosen"
    name = Content(model.name)
    gap = " " * max(0, width - name.cell_length)
    style = colour if model.state == "failed" else MUTED
    return Content.assemble((f"{mark} ", colour), name, gap, "  ", (said, style))


def lines_of(models: list[Queued]) -> list[Content]:
    """Return a line for each model, in columns."""
    width = max((Content(model.name).cell_length for model in models), default=0)
    return [line_of(model, min(width, 40)) for model in models]


class QueueView(Static):
    """One line; where there is room, one for each model around the one that is scanned."""

    DEFAULT_CSS = """
    QueueView {
        height: 1; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; display: none;
        border-title-color: $primary; border-subtitle-color: $foreground 60%;
        &.-lines { height: auto; border: round $panel; padding: 0 1; }
    }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="queue")

    def show(self, queue: ScanQueue, *, lines: bool) -> None:
        """Show the queue, nothing of one model alone."""
        self.display = queue.is_several
        if not queue.is_several:
            return
        self.set_class(lines, "-lines")
        if lines:
            self.border_title = Content(f"Queue: {queue.words}" if queue.words else "Queue")
            self.border_subtitle = "w lists it"
            self.update(Content("\n").join(_around(queue)))
        else:
            self.update(_summary(queue))


def _around(queue: ScanQueue) -> list[Content]:
    """Return the lines around the model that is scanned, the rest as a number."""
    models, current = queue.models, queue.current
    if len(models) <= MOST_LINES:
        return lines_of(models)
    at = models.index(current) if current is not None else 0
    first = max(0, min(at - 1, len(models) - MOST_LINES))
    return lines_of(models[first : first + MOST_LINES])


def _summary(queue: ScanQueue) -> Content:
    names = f": {named(queue.waiting)}" if queue.waiting else ""
    return Content.assemble(("Queue (w)  ", "$primary"), f"{queue.words}{names}")
