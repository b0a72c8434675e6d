"""Which layers are alike enough to share one adapter: a heuristic, from the weights alone.

Whether two layers want the same update shows in their gradients, which need data; a scan only has
weights. Layers are taken as alike when they are of one type and of the same sizes, when no other
layer of that type lies between them, and when

* their singular value spectra, where a scan kept those of all of them, have a cosine similarity
  of at least 0.998, which is a relative difference of 6 % (each spectrum is a vector, descending;
  its scale does not count), or else
* their scores differ by a factor of at most 1.25.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spectrum_tui.core.journal.spectra import KeptSpectrum
from spectrum_tui.core.results.results import BoolArray, FloatArray, Result
from spectrum_tui.core.saved.kept_spectra import kept_spectra

LEAST_COSINE = 0.998
LARGEST_RATIO = 1.25
BY_SPECTRA = f"singular values with a cosine similarity of at least {LEAST_COSINE}"
BY_SCORES = f"scores that differ by a factor of at most {LARGEST_RATIO}"


@dataclass(frozen=True, eq=False)
class Likeness:
    """`alike[i]`: whether layer i is like the layer before it, by `measure`."""

    alike: BoolArray
    measure: str


def similar_to_previous(result: Result, rows: list[int]) -> Likeness:
    """Compare each of these rows, of one matrix each and ascending, with the row before it; reads
    the kept spectra from disk."""
    cosines = _cosines(kept_spectra(result, rows), len(result.scores), rows)
    if cosines is not None:
        return Likeness(np.asarray(cosines >= LEAST_COSINE), BY_SPECTRA)
    return Likeness(_close_scores(result.scores.values), BY_SCORES)


def _cosines(
    spectra: Iterable[KeptSpectrum | None], count: int, rows: list[int]
) -> FloatArray | None:
    """Return the cosine between each row's spectrum and that of the row before it, NaN where there
    is none to compare with; None where a matrix has no kept spectrum."""
    cosines = np.full(count, np.nan)
    before, before_row = np.zeros(0), -2
    for row, kept in zip(rows, spectra, strict=True):
        if kept is None:
            return None
        length = float(np.linalg.norm(kept.values))
        values = kept.values / length if length > 0 else np.zeros(0)
        if before_row == row - 1 and len(values) == len(before) > 0:
            cosines[row] = values @ before
        before, before_row = values, row
    return cosines if len(rows) else None


def _close_scores(scores: FloatArray) -> BoolArray:
    """Return whether each score is finite, positive and close to the one before it."""
    close = np.zeros(len(scores), np.bool_)
    usable = np.isfinite(scores) & (scores > 0)
    logarithm = np.log(np.where(usable, scores, 1.0))
    near = np.abs(np.diff(logarithm)) <= np.log(LARGEST_RATIO) * (1 + 1e-12)
    close[1:] = near & usable[1:] & usable[:-1]
    return close
