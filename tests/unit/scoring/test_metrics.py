"""The metrics, on noise and planted signal of which everything is known."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from spectrum_tui.core.scoring import metrics
from spectrum_tui.core.scoring.metrics import calibrated, effective_rank, every_metric, noise_of
from spectrum_tui.core.settings import DATA_METRICS, METRICS
from tests import oracle
from tests.oracle import Array

SHORT = 256
RATIOS = [1, 2, 4, 8, 16]


@lru_cache
def noise(seed: int, rows: int, columns: int) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@lru_cache
def noise_values(seed: int, rows: int, columns: int) -> Array:
    return values_of(noise(seed, rows, columns))


def values_of(matrix: Array) -> Array:
    """By the Gram matrix, ten times faster than an SVD; nothing here asks for the last digit."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    values: Array = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))
    return values


def orthonormal(rng: np.random.Generator, size: int, count: int) -> Array:
    columns: Array = np.linalg.qr(rng.standard_normal((size, count)))[0]
    return columns


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", range(3))
def test_noise_holds_no_signal_at_any_aspect_ratio_and_scale(ratio: int, seed: int) -> None:
    values = noise_values(seed, SHORT, SHORT * ratio)
    for rows, columns in ((SHORT, SHORT * ratio), (SHORT * ratio, SHORT)):
        for scale in (1e-20, 1e-3, 1.0, 1e20):
            found = noise_of(values * scale, rows, columns)
            assert found.signal == 0
            assert found.sigma == pytest.approx(scale, rel=0.03)
            edge = found.sigma * (math.sqrt(rows) + math.sqrt(columns))
            assert edge < found.threshold < 1.05 * edge
            assert calibrated(values * scale, rows, columns) == 0.0


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_reference_gives_the_same_noise_anything(ratio: int) -> None:
    """By its scale where some values count as noise, by its size where none does."""
    values = noise_values(0, SHORT, SHORT * ratio)
    small, ordinary = (metrics.spectrum(values * x, SHORT, SHORT * ratio) for x in (1e-6, 1.0))
    assert small > 0.1
    assert small > 1e5 * ordinary if ratio < 4 else ordinary > SHORT / 2


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(
    ("spikes", "strength"), [(1, 1.5), (2, 1.5), (1, 10), (5, 2), (12, 2.5), (12, 10)]
)
def test_planted_spikes_are_found_exactly(ratio: int, spikes: int, strength: float) -> None:
    """From 1.5 times the strength below which no method sees a spike, sigma (nm)^(1/4).

    Twelve are 5 % of the values here: they move the median, and repel each other.
    """
    rows, columns = SHORT, SHORT * ratio
    rng = np.random.default_rng(1000 * ratio + spikes)
    left, right = orthonormal(rng, rows, spikes), orthonormal(rng, columns, spikes)
    level = strength * (rows * columns) ** 0.25 * np.linspace(1.0, 1.2, spikes)
    values = values_of(noise(7, rows, columns) + (left * level) @ right.T)
    assert noise_of(values, rows, columns).signal == spikes
    energy = float((values[:spikes] ** 2).sum() / (values**2).sum())
    assert calibrated(values, rows, columns) == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.25, 0.1, 1 / 16, 1e-3, 1 / 151_936])
def test_the_median_against_the_integral_of_the_density(ratio: float) -> None:
    """Midpoints of the law's own density, from its lower end to the median."""
    median = metrics.marchenko_pastur_median(ratio)
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    # x = low + u^2 takes the singularity out of the lower end at ratio 1.
    step = math.sqrt(median - low) / 200_000
    u = (np.arange(200_000) + 0.5) * step
    x = low + u * u
    density = np.sqrt((high - x) * (x - low)) / (2 * math.pi * ratio * x)
    assert float((density * 2 * u).sum() * step) == pytest.approx(0.5, abs=1e-6)


def test_the_median_of_square_noise_is_known() -> None:
    """Gavish and Donoho's 4/sqrt(3) rule: 2.858 times the median value, for squares."""
    median = metrics.marchenko_pastur_median(1.0)
    assert 4 / math.sqrt(3) / math.sqrt(median) == pytest.approx(2.858, abs=5e-4)


def test_one_matrix_of_noise_in_a_thousand_passes_the_threshold() -> None:
    """20,000 largest eigenvalues of small Wishart matrices, at the true noise level."""
    rng = np.random.default_rng(3)
    rows, columns, count = 10, 30, 20_000
    sample = rng.standard_normal((count, rows, columns))
    largest = np.linalg.eigvalsh(sample @ sample.transpose(0, 2, 1))[:, -1]
    a, b = math.sqrt(rows - 0.5), math.sqrt(columns - 0.5)
    scale = (a + b) * (1 / a + 1 / b) ** (1 / 3)
    passed = float((largest > (a + b) ** 2 + metrics.TRACY_WIDOM_999 * scale).mean())
    assert 0.0003 < passed < 0.0025


def test_powers_of_two_change_no_bit() -> None:
    values = noise_values(1, SHORT, 2 * SHORT)
    values = np.concatenate(([2.5 * values[0]], values[1:]))
    first = every_metric(values, SHORT, 2 * SHORT)
    for exponent in (-300, -31, 7, 300):
        scaled = every_metric(values * 2.0**exponent, SHORT, 2 * SHORT)
        for name in METRICS[1:]:
            assert scaled[name] == first[name]
    assert 0 < first["calibrated"] < 1


def test_by_hand() -> None:
    values = np.array([2.0, 1.0, 1.0, 0.0])
    assert metrics.stable_rank(values, 4, 4) == 6 / 4
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    assert effective_rank(values, 4, 4) == pytest.approx(math.exp(entropy), rel=1e-14)


def test_ranks_lie_between_one_and_the_rank() -> None:
    flat, single = np.ones(9), np.array([5.0, *([0.0] * 8)])
    for of in (metrics.stable_rank, effective_rank):
        assert of(flat, 9, 20) == pytest.approx(9.0, rel=1e-14)
        assert of(single, 9, 20) == 1.0


def test_no_metric_but_the_reference_s_is_infinite() -> None:
    for values in (np.array([5.0, *([0.0] * 7)]), np.full(8, 3.0), np.geomspace(1, 1e-300, 8)):
        found = every_metric(values, 8, 8)
        assert all(math.isfinite(found[name]) for name in METRICS[1:])
    assert calibrated(np.array([5.0, *([0.0] * 7)]), 8, 8) == 1.0  # no noise to be seen


def test_one_value_gives_what_one_dimensional_weights_have() -> None:
    for columns in (1, 2, 7, 4096):
        assert every_metric(np.array([3.0]), 1, columns) == metrics.ONE_DIMENSIONAL


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2), (3, 2), (2, 900)], ids=str)
def test_the_smallest_matrices_have_finite_values(shape: tuple[int, int]) -> None:
    found = every_metric(oracle.singular_values(noise(5, *shape)), *shape)
    assert all(math.isfinite(value) for value in found.values())
    assert 0.0 <= found["calibrated"] <= 1.0


def test_names() -> None:
    assert tuple(every_metric(np.ones(2), 2, 2)) == METRICS
    assert metrics.described("calibrated").title == "signal"
    assert metrics.described("of another version").title == "of another"


@pytest.mark.parametrize("name", DATA_METRICS)
def test_a_metric_of_data_is_described_and_no_singular_values_give_it(name: str) -> None:
    metric = metrics.described(name)
    assert metric.meaning != name
    assert math.isnan(metric.of(np.ones(2), 2, 2))
    assert name not in every_metric(np.ones(2), 2, 2)
