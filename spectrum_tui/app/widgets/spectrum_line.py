"""The singular values of the layer under the cursor, small, once the cursor rests on it."""

from __future__ import annotations

import asyncio

from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.histogram import noise_by, rule_of, small_histogram
from spectrum_tui.core import numbers
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.kept_spectra import LayerSpectra
from spectrum_tui.core.scoring.metrics import Noise

REST_SECONDS = 0.15
"""How long the cursor is on a layer before its singular values are read from disk."""
WIDEST = 80
_Found = tuple[KeptSpectrum, Noise]


class SpectrumLine(Widget):
    """One line, empty for a layer whose singular values were not kept."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    SpectrumLine { height: 1; display: none; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, result: Result) -> None:
        super().__init__()
        self._spectra = LayerSpectra(result)
        self._of: tuple[int | None, str] = (None, "")
        self._found: _Found | None = None
        self._resting: Timer | None = None

    def look_at(self, row: int | None, metric: str) -> None:
        """Show another layer, and the threshold of a metric; nothing is read while it is hidden."""
        if not self.display or (row, metric) == self._of:
            return
        self._of = (row, metric)
        self._show(None)
        if self._resting is not None:
            self._resting.stop()
        if row is not None:
            self._resting = self.set_timer(REST_SECONDS, self._read)

    def _read(self) -> None:
        self.run_worker(self._shown(*self._of), group="spectrum", exclusive=True)

    async def _shown(self, row: int | None, metric: str) -> None:
        found = await asyncio.to_thread(self._look_up, row, metric)
        if (row, metric) == self._of:
            self._show(found)

    def _look_up(self, row: int | None, metric: str) -> _Found | None:
        """Read from disk, in a thread; of several matrices the first."""
        kept = [] if row is None else self._spectra.of(row)
        return (kept[0][1], noise_by(rule_of(metric), kept[0][1])) if kept else None

    def _show(self, found: _Found | None) -> None:
        if found is not self._found:
            self._found = found
            self.refresh()

    def render(self) -> Content:
        if self._found is None:
            return Content("")
        kept, noise = self._found
        above = f"{noise.signal:,} of {numbers.counted(len(kept.values), 'value')} above"
        said = f" noise ends at {numbers.score(noise.threshold)}, {above} (d)"
        width = max(10, min(WIDEST, self.size.width - len(said) - 16))
        return Content.assemble(
            ("singular values ", MUTED), small_histogram(kept, noise, width), (said, MUTED)
        )
