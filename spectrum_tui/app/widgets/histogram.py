"""Singular values as a histogram, with the threshold that divides noise from signal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from textual.content import Content

from spectrum_tui.app.theme import MUTED
from spectrum_tui.core import numbers
from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring.metrics import Noise, noise_of
from spectrum_tui.core.scoring.snr import spectrum_score

RULE_WORDS = {
    "spectrum": "from the quartiles, by Spectrum",
    "calibrated": "from the median value, calibrated",
}
"""What divides noise from signal, by the metric that is made with it, in words."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_HEIGHT = 7


def rule_of(metric: str) -> str:
    """Return the rule that a metric is made with; the reference's for those made without one."""
    return metric if metric in RULE_WORDS else next(iter(RULE_WORDS))


def noise_by(rule: str, kept: KeptSpectrum) -> Noise:
    """Return what a rule takes for noise, as its metric does."""
    if rule == "calibrated":
        return noise_of(kept.values, kept.rows, kept.columns)
    score = spectrum_score(kept.values, kept.rows, kept.columns)
    return Noise(score.sigma, score.threshold, score.signal)


def histogram(kept: KeptSpectrum, noise: Noise, width: int) -> Content:
    """Return how many singular values lie where, from 0 to the largest; those above noise in
    colour.

    Heights are logarithmic: a single value far out is seen beside thousands in the bulk.
    """
    largest = max(float(kept.values[0]), noise.threshold)
    heights, edge = _columns(kept, noise, width, _HEIGHT)
    lines = [Content.assemble(*_halves(text, edge, edge)) for text in _bars(heights, _HEIGHT)]
    mark = "│ noise ends" if edge < width - 12 else "noise ends │"
    at = edge if edge < width - 12 else max(0, edge - len(mark) + 1)
    lines.append(Content.styled(" " * at + mark, "$warning"))
    low, high = "0", numbers.score(largest)
    lines.append(Content.styled(f"{low}{high:>{width - 1}}", MUTED))
    return Content("\n").join(lines)


def small_histogram(kept: KeptSpectrum, noise: Noise, width: int, height: int = 1) -> Content:
    """Return the bars alone, with a line where noise ends in place of that column."""
    heights, edge = _columns(kept, noise, width, height)
    lines = []
    for text in _bars(heights, height):
        low, high = _halves(text, edge, edge + 1)
        lines.append(Content.assemble(low, ("│", "$warning"), high))
    return Content("\n").join(lines)


def _columns(kept: KeptSpectrum, noise: Noise, width: int, lines: int) -> tuple[FloatArray, int]:
    """(eighths of a line that each column is high, the column in which noise ends)."""
    largest = max(float(kept.values[0]), noise.threshold)
    counts, _ = np.histogram(kept.values, bins=width, range=(0.0, largest * (1 + 1e-9)))
    edge = min(width - 1, int(noise.threshold / largest * width))
    heights = np.log1p(counts) / np.log1p(counts.max()) * lines * 8
    return np.where(counts > 0, np.maximum(1, np.round(heights)), 0), edge


def _bars(heights: FloatArray, height: int) -> Iterator[str]:
    """Yield the lines of columns that are so many eighths high, the uppermost first."""
    for below in reversed(range(height)):
        eighths = np.clip(heights - below * 8, 0, 8).astype(int)
        yield "".join(_EIGHTHS[n] for n in eighths.tolist())


def _halves(text: str, low: int, high: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return what of a line is noise, up to `low`, and what is signal, from `high` on, in their
    colours."""
    return (text[:low], MUTED), (text[high:], "$primary")
