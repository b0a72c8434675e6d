"""The formula on singular values, against the formula typed again on numpy's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL, every_metric
from spectrum_tui.core.scoring.snr import (
    UnscorableError,
    mean,
    relative_error_bound,
    spectrum_score,
)
from spectrum_tui.core.settings import METRICS
from tests import oracle
from tests.oracle import Array


def values_of(kind: str, n: int, rng: np.random.Generator) -> Array:
    """A descending spectrum of n values."""
    spectra: dict[str, Array] = {
        "noise": np.abs(rng.standard_normal(n)),
        "decaying": np.geomspace(1, 1e-6, n),
        "spiked": np.concatenate((rng.uniform(5, 50, max(1, n // 8)), rng.uniform(0, 1, n)))[:n],
        "flat": np.full(n, 3.0),
        "linear": np.linspace(1, 2, n),
        "heavy": rng.pareto(1.5, n) + 1e-3,
    }
    return np.sort(spectra[kind])[::-1].copy()


KINDS = ["noise", "decaying", "spiked", "flat", "linear", "heavy"]
SHAPES = [(1, 1), (2, 2), (3, 7), (4, 4), (5, 1000), (64, 64), (300, 1000), (1000, 300)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_formula(kind: str, shape: tuple[int, int]) -> None:
    values = values_of(kind, min(shape), np.random.default_rng(sum(shape)))
    score = spectrum_score(values, *shape)
    assert oracle.close(score.snr, oracle.snr_of_values(values, *shape), 1e-12)
    iqr = np.percentile(values, 75) - np.percentile(values, 25)
    assert score.sigma == pytest.approx(iqr / 1.349, rel=1e-12)
    edge = score.sigma * (1 + math.sqrt(min(shape) / max(shape)))
    assert score.threshold == pytest.approx(edge, rel=1e-12)
    assert score.signal == int((values > score.threshold).sum())


def test_by_hand() -> None:
    # S = 9 3 2 1 0: q75 3, q25 1, sigma 2/1.349, t = 2 sigma = 2.965 (square), signal 9 + 3
    score = spectrum_score(np.array([9.0, 3.0, 2.0, 1.0, 0.0]), 5, 5)
    assert score.snr == pytest.approx(12 / 3 / 9, rel=1e-15)
    assert score.signal == 2
    assert score.threshold == pytest.approx(2 / 1.349 * 2, rel=1e-15)


def test_the_scale_of_a_matrix_only_divides_by_nothing() -> None:
    values = values_of("spiked", 64, np.random.default_rng(0))
    ordinary = spectrum_score(values, 64, 128).snr
    for exponent in (-100, -30, 30, 100):
        scaled = spectrum_score(values * 2.0**exponent, 64, 128).snr
        assert scaled * 2.0**exponent == pytest.approx(ordinary, rel=1e-12)


def test_no_noise_part_counts_as_one() -> None:
    assert spectrum_score(np.array([4.0]), 1, 9).snr == 1.0
    assert spectrum_score(np.full(8, 2.0), 8, 8).snr == pytest.approx(8.0)  # 16 / 1 / 2


def test_one_dimensional_weights_score_what_the_formula_gives() -> None:
    for length in (1, 7, 4096):
        assert spectrum_score(np.array([3.0]), 1, length).snr == ONE_DIMENSIONAL["spectrum"] == 1.0


@pytest.mark.parametrize("dust", [0.0, 1e-17, 3e-16])
def test_a_rank_deficient_matrix_scores_alike_whatever_dust_the_svd_left(dust: float) -> None:
    values = np.array([5.0, 4.0, 3.0, 2.0, 1.0, *([5.0 * dust] * 3)])
    clean = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0])
    assert spectrum_score(values, 8, 8).snr == spectrum_score(clean, 8, 8).snr
    low = np.array([5.0, *([5.0 * dust] * 7)])
    assert spectrum_score(low, 8, 8).snr == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_have_no_score(bad: float) -> None:
    with pytest.raises(UnscorableError, match="NaN or Inf"):
        spectrum_score(np.array([bad, 1.0]), 2, 2)


def test_the_zero_matrix_has_no_score() -> None:
    with pytest.raises(UnscorableError, match="zero"):
        spectrum_score(np.zeros(4), 4, 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-14, 1e-11, 1e-8, 1e-5, 1e-2])
def test_the_error_bound_bounds_the_error(kind: str, size: float) -> None:
    """Values that are off by no more than told move the score by no more than told."""
    rng = np.random.default_rng(11)
    for n in (1, 2, 3, 8, 65):
        values = values_of(kind, n, rng)
        errors = size * rng.uniform(0.1, 1, n) * values[0]
        bound = relative_error_bound(values, errors, n, 2 * n)
        if math.isinf(bound):
            continue
        for _ in range(20):
            moved = values + errors * rng.uniform(-1, 1, n)
            moved = np.sort(np.maximum(moved, 0.0))[::-1]
            true = oracle.snr_of_values(moved, n, 2 * n)
            told = oracle.snr_of_values(values, n, 2 * n)
            # The bound is of the first order, which a factor covers up to errors of 1 %.
            assert abs(true - told) <= (bound * (1 + 10 * size) + 1e-13) * true * 1.1


def test_a_value_at_the_threshold_gives_no_bound() -> None:
    values = np.array([20.0, 9.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0])
    errors = np.full(9, 1e-3)
    assert math.isfinite(relative_error_bound(values, errors, 9, 9))
    values[3] = spectrum_score(values, 9, 9).threshold * (1 + 1e-4)  # the quartiles stay
    assert math.isinf(relative_error_bound(values, errors, 9, 9))


def test_a_threshold_that_may_move_over_a_value_gives_no_bound() -> None:
    """Exact values but for the quartiles: sigma may be off by the sum of their errors / 1.349, and
    the threshold of a square matrix by twice that."""
    values = np.array([20.0, 9.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0])  # quartiles 3.0 and 1.0
    errors = np.zeros(9)
    errors[[2, 6]] = 1e-3
    reach = 2 * (1e-3 + 1e-3) / 1.349
    threshold = 2 * (3.0 - 1.0) / 1.349
    values[3] = threshold - 0.9 * reach
    assert 2.5 < values[3] < 3.0
    assert math.isinf(relative_error_bound(values, errors, 9, 9))
    values[3] = threshold - 1.1 * reach
    assert math.isfinite(relative_error_bound(values, errors, 9, 9))


def test_small_random_matrices_score_as_an_svd_does() -> None:
    """Of the 4x4 ones 3 % have no value above the threshold."""
    rng = np.random.default_rng(4)
    without_signal = 0
    for number in range(2000):
        weight = rng.standard_normal((4, 4))
        values = oracle.singular_values(weight)
        score = spectrum_score(values, 4, 4)
        assert score.snr == pytest.approx(oracle.snr(weight), rel=1e-12)
        if not score.signal:
            without_signal += 1
            bound = relative_error_bound(values, np.full(4, 1e-13), 4, 4)
            assert (score.snr, bound) == (0.0, 0.0)
        if not score.signal or number % 10 == 0:  # they cost as much as all the rest
            assert set(every_metric(values, 4, 4)) == set(METRICS)
    assert 20 < without_signal < 120


def test_numbers_too_large_to_add_up_are_a_reason_and_no_crash() -> None:
    with pytest.raises(UnscorableError, match="too large"):
        spectrum_score(np.array([1.7e308] * 8 + [0.9e308] * 8), 16, 16)
    assert mean([1.7e308, 1.7e308]) == math.inf
    assert mean([0.1] * 10) == 0.1


def test_no_bound_without_numbers() -> None:
    one = np.ones(3)
    assert math.isinf(relative_error_bound(np.zeros(3), one, 3, 3))
    assert math.isinf(relative_error_bound(np.array([math.nan] * 3), one, 3, 3))
