"""How fast this machine computes scores, measured in a moment."""

from __future__ import annotations

import time

import numpy as np

from spectrum_tui.core.scanning.devices import default_batch_size, one_thread_each
from spectrum_tui.core.scoring import svd


def seconds_per_cost(device: str) -> float:
    """Seconds per unit of `svd.cost` on this device, all of it used: for a first estimate.

    Measured on one Gram matrix with its eigenvalues (512 x 512, 10 to 50 ms); a CPU scan
    has a worker on each core.
    """
    if device == "mps":
        return seconds_per_cost("cpu")
    n = 512
    matrix = np.random.default_rng(0).standard_normal((n, n))
    best = float("inf")
    with one_thread_each():
        for _ in range(3):
            begin = time.perf_counter()
            gram = svd.device_of(device).gram(n, "float64")
            gram.add(matrix)
            gram.eigenvalues()
            best = min(best, time.perf_counter() - begin)
    cores = default_batch_size(device) if device == "cpu" else 1
    return best / svd.cost(n, n) / cores
