"""The newest scores on top, and failures with their reason, as the scan reports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers
from spectrum_tui.core.events import LayerDone, LayerFailed


class ScoreFeed(LineView):
    """One line per finished layer: SNR or ✗, the layer, its shape or the reason."""

    HAS_CURSOR = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"feed--score", "feed--dim", "feed--bad"}
    DEFAULT_CSS = """
    ScoreFeed {
        & > .feed--score { color: $accent; text-style: bold; }
        & > .feed--dim { color: $foreground 60%; }
        & > .feed--bad { color: $error; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[LayerDone | LayerFailed] = ()
        self._empty = ""

    def update(self, rows: Sequence[LayerDone | LayerFailed], empty: str) -> None:
        """Show these rows, or the sentence `empty` where there are none."""
        if rows == self._rows and empty == self._empty:
            return
        self._rows, self._empty = rows, empty
        if self.line_count != max(1, len(rows)):
            self.resize_lines(0, max(1, len(rows)))
        self.refresh()

    def render_row(self, row: int, width: int) -> Strip:
        if not self._rows:
            return Strip([Segment(self._empty, self.line_style("feed--dim"))])
        event = self._rows[row]
        if isinstance(event, LayerFailed):
            return self._failure(event, width)
        shape = numbers.shape(*event.shape) if width >= 56 else ""
        room = max(8, width - 10 - (15 if shape else 0))
        return Strip(
            [
                Segment(f"{numbers.score(event.snr):>8}  ", self.line_style("feed--score")),
                Segment(keep_end(event.layer, room), self.line_style()),
                Segment(shape.rjust(15) if shape else "", self.line_style("feed--dim")),
            ]
        )

    def _failure(self, event: LayerFailed, width: int) -> Strip:
        """Return the reason gets what it needs, up to half of the line; the layer gets the rest."""
        reason = printable(event.reason)
        room = width - 10
        half = max(room // 2, room - cell_len(event.layer) - 2)
        layer_room = room - min(cell_len(reason), half) - 2
        return Strip(
            [
                Segment(f"{'✗':>8}  ", self.line_style("feed--bad")),
                Segment(keep_end(event.layer, layer_room) + "  ", self.line_style()),
                Segment(reason, self.line_style("feed--bad")),
            ]
        )
