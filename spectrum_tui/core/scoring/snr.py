"""Signal-to-noise ratios from singular values: numpy only, no model in sight.

The formula is that of the Spectrum reference tool (arXiv:2406.06623, section 3): the noise level
sigma from the interquartile range of the singular values, the upper edge of the
Marchenko-Pastur distribution as threshold, and signal over noise divided by the largest value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.results.results import FloatArray

RULE = "spectrum-2"
"""Names the formulas and their numerical conventions; scores of another rule are not reused."""

EPS = float(np.finfo(np.float64).eps)


class UnscorableError(Exception):
    """The matrix has no score; the text says why, for a row in the results."""


def why_unscored(exc: Exception) -> str:
    """One line that says why a matrix has no score: what a library says of it as it is, anything
    else by its kind too."""
    text = exc.message if isinstance(exc, SpectrumError) else str(exc)
    line = next(iter(text.strip().splitlines()), "")
    if line and isinstance(exc, UnscorableError | SpectrumError | RuntimeError | MemoryError):
        return line
    return f"unexpected {type(exc).__name__}: {line}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class Score:
    """A matrix's SNR, the noise level and threshold that it was made with, in the units of the
    singular values, and how many of those lie above."""

    snr: float
    sigma: float
    threshold: float
    signal: int


def spectrum_score(values: FloatArray, rows: int, columns: int) -> Score:
    """Return the Spectrum SNR of a rows x columns matrix with singular `values` (descending).

    sigma = (q75 - q25) / 1.349 with linear interpolation (1.349 sigma is the interquartile range
    of a normal distribution); t = sigma * (1 + sqrt(min/max)), the Marchenko-Pastur edge;
    snr = sum(S > t) / sum(S <= t) / S[0], where an empty noise part counts as 1.0.

    Values below eps * max(rows, columns) * S[0] are rounding noise of any float64 SVD and count
    as 0, so that the score of a rank-deficient matrix does not depend on the algorithm; a
    matrix whose noise part is exactly 0 has an infinite score, one without a value above t the
    score 0. Raises UnscorableError for non-finite values and for the zero matrix.
    """
    if not np.isfinite(values).all():
        raise UnscorableError("holds NaN or Inf")
    largest = float(values[0])
    if largest == 0.0:
        raise UnscorableError("is all zero")
    values = np.where(values > EPS * max(rows, columns) * largest, values, 0.0)
    sigma, threshold = noise_threshold(values, rows, columns)
    above = values > threshold
    with np.errstate(over="ignore"):  # near 1e308 a sum is infinite
        signal = float(values[above].sum())
        noise = float(values[~above].sum()) if not above.all() else 1.0
    snr = signal / noise / largest if noise else math.inf
    if math.isnan(snr):
        raise UnscorableError("holds values too large to add up")
    return Score(snr, sigma, threshold, int(above.sum()))


def mean(values: Sequence[float]) -> float:
    """Return the exact mean of the scores of a layer's matrices; infinite where their sum is too
    large for a float. Raises ZeroDivisionError for none."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.inf


def noise_threshold(values: FloatArray, rows: int, columns: int) -> tuple[float, float]:
    """(sigma, Marchenko-Pastur edge) of the singular values."""
    upper, lower = np.quantile(values, (0.75, 0.25))
    sigma = float(upper - lower) / 1.349
    return sigma, sigma * (1.0 + math.sqrt(min(rows, columns) / max(rows, columns)))


def relative_error_bound(values: FloatArray, errors: FloatArray, rows: int, columns: int) -> float:
    """Return how far the SNR of these singular values can be from the truth, relative.

    `errors` bounds each value's absolute error. Infinite when a value is so near the threshold
    that signal and noise could be told apart wrongly; 0 when no value can be above it, since the
    SNR is 0 then whatever the values are, and for one value alone, whose SNR is 1.
    """
    largest = float(values[0])
    if not largest > 0.0 or not np.isfinite(values).all():
        return math.inf
    _, threshold = noise_threshold(values, rows, columns)
    quartile_error = 2.0 * float(errors.max(where=_near_quartiles(len(values)), initial=0.0))
    threshold_error = quartile_error / 1.349 * 2.0
    if bool((np.abs(values - threshold) <= errors + threshold_error).any()):
        return math.inf
    above = values > threshold
    if not above.any() or len(values) == 1:
        return 0.0
    bound = float(errors[0]) / largest + float(errors[above].sum()) / float(values[above].sum())
    if not above.all():
        noise = float(values[~above].sum())
        bound += float(errors[~above].sum()) / noise if noise > 0 else math.inf
    return bound


def _near_quartiles(n: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the positions (descending order) that the two quartiles are interpolated from."""
    mask = np.zeros(n, np.bool_)
    for quantile in (0.25, 0.75):
        at = quantile * (n - 1)
        mask[[math.floor(at), math.ceil(at)]] = True
    return mask
