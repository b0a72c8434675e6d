"""What is said of a layer from its gradients over several batches, as formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spectrum_tui.core.scoring.snr import mean


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSums:
    """Of one matrix: ‖mean gradient‖², the sum of ‖gradient‖² over the batches, ‖weight‖², and the
    number of elements and of batches."""

    mean: float
    squares: float
    weight: float
    size: int
    batches: int


def gradient(sums: PartSums) -> float:
    """Return ‖mean gradient‖ / ‖weight‖, Frobenius norms: how fast a step of gradient descent
    changes the matrix, relative to itself. NaN for a matrix of zeros."""
    return math.sqrt(sums.mean / sums.weight) if sums.weight else math.nan


def fisher(sums: PartSums) -> float:
    """Return the mean over batches and elements of the squared gradient.

    The diagonal of the empirical Fisher information for batches in place of single examples
    (Martens 2020, arXiv:1412.1193, section 11).
    """
    return sums.squares / (sums.batches * sums.size)


def gradient_snr(sums: PartSums) -> float:
    """Return ‖g‖² / s², with g the mean gradient and s² = Σ ‖g_b - g‖² / (n - 1) over n batches.

    s² estimates the trace of the covariance of a batch's gradient. Less the constant 1/n, this is
    how many times a batch is larger than the simple noise scale tr Σ / ‖G‖² (McCandlish et al.
    2018, arXiv:1812.06162, equation 2.9, with ‖g‖² - s²/n for ‖G‖² as in its appendix A.1): high
    where batches agree. NaN for one batch, 0 where there is no gradient, infinite where all batches
    have the same.
    """
    if sums.batches < 2:
        return math.nan
    if not sums.mean:
        return 0.0
    spread = (sums.squares - sums.batches * sums.mean) / (sums.batches - 1)
    # Below the rounding of the two sums there is no spread to be seen.
    least = 1e-12 * sums.squares
    return sums.mean / spread if spread > least else math.inf


def metrics_of(parts: Sequence[PartSums]) -> dict[str, tuple[float, ...]]:
    """{metric: its value for each matrix of a layer}, of those that gradients give."""
    formulas = {"gradient": gradient, "gradient_snr": gradient_snr, "fisher": fisher}
    return {name: tuple(map(formula, parts)) for name, formula in formulas.items()}


def of_layer(values: Sequence[float]) -> float:
    """Return the value of a layer: the mean over its matrices, as of the metrics of a scan."""
    return mean(list(values)) if values else math.nan
