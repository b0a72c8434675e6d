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
from spectrum_tui.core.saved.kept_spectra import LayerSpectra
from spectrum_tui.core.scoring.metrics import Noise

ROOMY = 40
"""Lines of a terminal from which the singular values of a layer have one at least."""
REST_SECONDS = 0.15
"""How long the cursor is on a layer before its singular values are read from disk."""
WIDEST = 96
AXIS, GAP = 4, 6
"""Lines from which there is an axis below the bars, and an empty line above their title."""
_Found = tuple[KeptSpectrum, Noise]


class SpectrumLine(Widget):
    """As many lines as there is room for, empty for a layer whose singular values were not
    kept."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    SpectrumLine { height: 1; display: none; padding: 0 1; text-wrap: nowrap; }
    """

    def __init__(self, spectra: LayerSpectra) -> None:
        super().__init__()
        self.spectra = spectra
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
        kept = [] if row is None else self.spectra.of(row)
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
        end = f" noise ends at {numbers.score(noise.threshold)}"
        name, room = "singular values ", self.size.width
        if self.size.height == 1:
            said = f"{end}, {above} (d)"
            width = max(10, min(WIDEST, room - len(name) - len(said)))
            drawn = small_histogram(kept, noise, width)
            return Content.assemble((name, MUTED), drawn, (said, MUTED))
        ways = (f"{end}, {above} (d)", f"{end}, {above.replace(' values', '')}", end)
        said = next((text for text in ways if len(name) + 1 + len(text) <= room), "")
        title = Content.assemble((name, MUTED), ("│", "$warning"), (said, MUTED))
        return self._tall(kept, noise, title)

    def _tall(self, kept: KeptSpectrum, noise: Noise, title: Content) -> Content:
        """Return bars of several lines under their title; with an axis, and a gap above, where
        there is room."""
        room, lines = self.size
        width, gap, axis = max(10, min(WIDEST, room)), lines >= GAP, lines >= AXIS
        parts = [Content("")] * gap + [title]
        parts.append(small_histogram(kept, noise, width, lines - 1 - gap - axis))
        if axis:
            largest = numbers.score(max(float(kept.values[0]), noise.threshold))
            parts.append(Content.styled(f"0{largest:>{width - 1}}", MUTED))
        return Content("\n").join(parts)
