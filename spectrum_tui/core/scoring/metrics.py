"""What can be said of a matrix from its singular values alone: the metrics that rank layers.

Each is a pure function of (singular values in descending order, rows, columns) and is computed at
scan time from the same values. A matrix of zeros or with NaN has no score in any of them
(`snr.UnscorableError`). Numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from spectrum_tui.core.results.results import FloatArray
from spectrum_tui.core.scoring.snr import EPS, spectrum_score
from spectrum_tui.core.settings import DATA_METRICS, METRICS

TRACY_WIDOM_999 = 3.2724
"""The 0.999 quantile of the Tracy-Widom law of order 1: one matrix of noise in a thousand has a
value above the threshold that is made with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric by name: `title` heads its column, `words` stand in a sentence, `meaning` says in
    one line what it is. `one_dimensional` is its value for 1-D weights, which are one singular
    value."""

    name: str
    title: str
    words: str
    meaning: str
    of: Callable[[FloatArray, int, int], float]
    one_dimensional: float


@dataclass(frozen=True, slots=True)
class Noise:
    """What `calibrated` takes for noise, in the units of the singular values.

    `threshold` is where the largest values of noise end, with their fluctuation; `signal` is how
    many values lie above it.
    """

    sigma: float
    threshold: float
    signal: int


def spectrum(values: FloatArray, rows: int, columns: int) -> float:
    """Return the reference tool's signal-to-noise ratio: see `snr.spectrum_score`.

    Divided by the largest value, so it falls when a matrix is scaled up; infinite where no value
    counts as noise below the threshold and the rest is exactly 0. 1-D weights: 1.0.
    """
    return spectrum_score(values, rows, columns).snr


def calibrated(values: FloatArray, rows: int, columns: int) -> float:
    """Return the share of the energy (sum of squares) that lies above what noise can reach: 0 to 1.

    See `noise_of`. Never infinite, the same for any scale and comparable between shapes: 0 for
    pure noise of any aspect ratio. Where over half of the values are 0 there is no noise to see,
    and it is 1. One value alone (1 x n, 1-D weights) cannot be told from noise: 0.
    """
    shares = _relative(values, rows, columns)
    signal = noise_of(values, rows, columns).signal
    energy = shares * shares
    return float(energy[:signal].sum() / energy.sum())


def stable_rank(values: FloatArray, rows: int, columns: int) -> float:
    """||A||_F^2 / ||A||_2^2, between 1 and the rank (Rudelson and Vershynin 2007, section 1).

    How many directions as strong as the strongest would hold the energy. 1-D weights: 1.0.
    """
    shares = _relative(values, rows, columns)
    return float((shares * shares).sum())


def effective_rank(values: FloatArray, rows: int, columns: int) -> float:
    """exp of the entropy of the singular values divided by their sum, between 1 and the rank.

    Roy and Vetterli 2007, "The effective rank", definition 1. 1-D weights: 1.0.
    """
    shares = _relative(values, rows, columns)
    shares = shares[shares > 0.0] / shares.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


def noise_of(values: FloatArray, rows: int, columns: int) -> Noise:
    """Return the noise level from the median value, and the threshold that noise stays below.

    sigma = median(S) / sqrt(L mu), with L the longer side and mu the median of the
    Marchenko-Pastur law of ratio short/long (Gavish and Donoho, arXiv:1305.5870, section IV): a
    few large values do not move the median. The largest eigenvalue of A'A for noise of level 1
    has mean near (a + b)^2 and scale (a + b)(1/a + 1/b)^(1/3), with a and b the roots of the
    sides less 1/2, and fluctuates by the Tracy-Widom law (Johnstone 2001, theorem 1.1, with the
    centring of his section 5). The bulk's own edge is sigma (sqrt rows + sqrt columns).
    """
    long, short = max(rows, columns), min(rows, columns)
    shares = _relative(values, rows, columns)
    scale = float(values[0])
    sigma = float(np.median(shares)) / math.sqrt(long * marchenko_pastur_median(short / long))
    a, b = math.sqrt(rows - 0.5), math.sqrt(columns - 0.5)
    reach = (a + b) ** 2 + TRACY_WIDOM_999 * (a + b) * (1.0 / a + 1.0 / b) ** (1.0 / 3.0)
    threshold = sigma * math.sqrt(reach)
    return Noise(sigma * scale, threshold * scale, int((shares > threshold).sum()))


@lru_cache(maxsize=1024)
def marchenko_pastur_median(ratio: float) -> float:
    """Return the median of the Marchenko-Pastur law of unit variance, for a ratio in (0, 1].

    With x = 1 + ratio + 2 sqrt(ratio) cos(t) its density becomes 2 sin(t)^2 / (pi x) dt on
    [0, pi], without the singular ends that it has in x; 20,000 steps of the trapezoid rule are
    exact to 1e-9.
    """
    t = np.linspace(0.0, math.pi, 20_001)
    x = 1.0 + ratio + 2.0 * math.sqrt(ratio) * np.cos(t)
    # At ratio 1 both are 0 in the last point, where the density goes to 2 / pi.
    density = np.full(len(t), 2.0 / math.pi)
    np.divide(2.0 * np.sin(t) ** 2, math.pi * x, out=density, where=x > 1e-12)
    mass = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2.0)))
    angle = float(np.interp(mass[-1] / 2.0, mass, t))
    return 1.0 + ratio + 2.0 * math.sqrt(ratio) * math.cos(angle)


def _relative(values: FloatArray, rows: int, columns: int) -> FloatArray:
    """Return the values over the largest, without the rounding noise of a decomposition.

    Divided first, so that squares neither overflow nor vanish, and so that a power of two in the
    scale changes no bit of a metric.
    """
    shares: FloatArray = np.asarray(values, np.float64) / values[0]
    return np.where(shares > EPS * max(rows, columns), shares, 0.0)


_ALL = (
    Metric(
        name="spectrum",
        title="SNR",
        words="signal-to-noise ratio",
        meaning="signal over noise, by Spectrum",
        of=spectrum,
        one_dimensional=1.0,
    ),
    Metric(
        name="calibrated",
        title="signal",
        words="share of energy above the noise",
        meaning="share of energy above the noise",
        of=calibrated,
        one_dimensional=0.0,
    ),
    Metric(
        name="stable_rank",
        title="stable rank",
        words="stable rank",
        meaning="energy relative to the largest value's",
        of=stable_rank,
        one_dimensional=1.0,
    ),
    Metric(
        name="effective_rank",
        title="eff. rank",
        words="effective rank",
        meaning="how many values share the sum evenly",
        of=effective_rank,
        one_dimensional=1.0,
    ),
)


def _foreign(name: str, title: str, words: str, meaning: str) -> Metric:
    """Return a metric whose values come from elsewhere: singular values do not give them."""
    return Metric(
        name=name,
        title=title,
        words=words,
        meaning=meaning,
        of=lambda values, rows, columns: math.nan,
        one_dimensional=math.nan,
    )


_FROM_DATA = (
    _foreign(
        "gradient",
        "gradient",
        "gradient over weight",
        "norm of the mean gradient over the weight's",
    ),
    _foreign(
        "gradient_snr",
        "grad. SNR",
        "gradient signal over noise",
        "mean gradient over its spread between batches",
    ),
    _foreign("fisher", "Fisher", "Fisher information", "mean square of the gradient's elements"),
    _foreign(
        "activation",
        "activation",
        "share added to the residual stream",
        "norm of what is added over the stream's",
    ),
)
_BY_NAME = {metric.name: metric for metric in (*_ALL, *_FROM_DATA)}
assert tuple(_BY_NAME) == METRICS + DATA_METRICS


def described(name: str) -> Metric:
    """Return the metric of this name, or one that is called so: a file may name what is not
    known."""
    return _BY_NAME.get(name) or _foreign(name, name[:10], name, name)


def every_metric(
    values: FloatArray, rows: int, columns: int, known: Mapping[str, float] | None = None
) -> dict[str, float]:
    """{name: value} of all metrics; those in `known` are not computed again."""
    known = known or {}
    return {m.name: known[m.name] if m.name in known else m.of(values, rows, columns) for m in _ALL}


ONE_DIMENSIONAL = {m.name: m.one_dimensional for m in _ALL}
"""The values of every 1-D weight."""
FAILED = {m.name: math.nan for m in _ALL}
"""The values of what has no score."""
