"""The rules of the reference tool, typed again from their description: what tests compare with.

Nothing here imports the program. Singular values are numpy's own, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]


def as_matrix(tensor: torch.Tensor) -> Array:
    """A stored weight as the float64 matrix that is scored."""
    values: Array = tensor.to(torch.float64).numpy()
    return values.reshape(values.shape[0], -1) if values.ndim > 1 else values.reshape(1, -1)


def singular_values(matrix: npt.NDArray[Any]) -> Array:
    """Descending, of the float64 matrix, by LAPACK's SVD."""
    values: Array = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    return values


def snr(matrix: npt.NDArray[Any]) -> float:
    """Signal over noise over the largest singular value; see `snr_of_values`."""
    rows, columns = matrix.shape
    return snr_of_values(singular_values(matrix), rows, columns)


def snr_of_values(values: Array, rows: int, columns: int) -> float:
    """sigma = IQR / 1.349, t = sigma (1 + sqrt(min/max)), sum(S > t) / sum(S <= t) / S[0].

    An empty noise part counts as 1.0. Values that an SVD cannot tell from zero count as zero
    (numpy's own rule for a matrix's rank), so that a rank-deficient matrix has one score.
    """
    s = np.sort(np.asarray(values, np.float64))[::-1].copy()
    s[s <= s[0] * max(rows, columns) * np.finfo(np.float64).eps] = 0.0
    sigma = (np.percentile(s, 75) - np.percentile(s, 25)) / 1.349
    t = sigma * (1 + np.sqrt(min(rows, columns) / max(rows, columns)))
    signal = math.fsum(v for v in s if v > t)
    below = [v for v in s if v <= t]
    noise = math.fsum(below) if below else 1.0
    return float(signal / noise / s[0]) if noise > 0 else math.inf


def selected(snr_of_layer: dict[str, float], percent: float) -> list[str]:
    """Of one type: the first int(n * P / 100) of the layers sorted by SNR, highest first."""
    ordered = sorted(snr_of_layer.items(), key=lambda item: item[1], reverse=True)
    return [layer for layer, _ in ordered[: int(len(ordered) * percent / 100)]]


def close(a: float, b: float, tolerance: float = 1e-9) -> bool:
    """Whether two scores agree relatively; Infinity only with itself."""
    return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))


def assert_all_close(got: Sequence[float], wanted: Sequence[float], tolerance: float) -> None:
    """Every pair agrees, the worst one named."""
    pairs = zip(got, wanted, strict=True)
    worst = [(i, a, b) for i, (a, b) in enumerate(pairs) if not close(a, b, tolerance)]
    assert not worst, worst[:3]
