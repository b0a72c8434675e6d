"""The statistics, against numeric integration, tables, and the definition of Holm's procedure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.core.proof.statistics import holm, least_t, paired, spread_of, two_sided_p


def integrated(t: float, degrees: int) -> float:
    """p by Simpson's rule over the density, in u = x / (1 + x) so that the tail ends."""
    density = math.gamma((degrees + 1) / 2) / (
        math.sqrt(degrees * math.pi) * math.gamma(degrees / 2)
    )
    u = np.linspace(t / (1 + t), 1, 20_001)[:-1]
    x = u / (1 - u)
    y = density * (1 + x**2 / degrees) ** (-(degrees + 1) / 2) / (1 - u) ** 2
    last = density * degrees if degrees == 1 else 0.0  # the limit of y at u = 1
    y = np.append(y, last)
    step = (1 - t / (1 + t)) / 20_000
    return float(2 * step / 3 * (y[0] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum() + y[-1]))


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 9, 29, 100])
@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 2.5, 12.0])
def test_p_is_the_area_of_both_tails(t: float, degrees: int) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(integrated(t, degrees), abs=1e-8)
    assert two_sided_p(-t, degrees) == two_sided_p(t, degrees)


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622)]
)
def test_p_is_that_of_the_tables(degrees: int, t: float) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(0.05, abs=1e-5)
    assert least_t(0.05, degrees) == pytest.approx(t, abs=1e-4)


def test_mean_and_spread() -> None:
    found = spread_of([2.0, 4.0, 9.0])
    assert (found.mean, found.spread, found.count) == (5.0, math.sqrt(13), 3)
    assert math.isnan(spread_of([1.0]).spread) and spread_of([1.0]).mean == 1.0
    assert math.isnan(spread_of([]).mean)


def test_differences_are_taken_on_the_same_seeds() -> None:
    one, other = {0: 2.0, 1: 3.0, 2: 4.5, 7: 9.0}, {0: 1.0, 1: 2.5, 2: 3.0, 8: 0.0}
    found, p = paired(one, other)
    assert (found.mean, found.count) == (1.0, 3)
    assert p == pytest.approx(two_sided_p(1.0 / 0.5 * math.sqrt(3), 2))
    assert paired(other, one)[1] == p


def test_without_repetition_nothing_is_said() -> None:
    assert paired({0: 1.0}, {0: 2.0})[1] == 1.0
    assert paired({}, {0: 2.0})[1] == 1.0
    same = {0: 2.0, 1: 2.0, 2: 2.0}
    assert paired(same, {0: 3.0, 1: 3.0, 2: 3.0})[1] == 1.0
    assert paired(same, same)[1] == 1.0
    assert paired({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0})[1] == 0.0


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_step_by_step(chances: list[float]) -> None:
    adjusted = holm(chances)
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for place, i in enumerate(order):
            if chances[i] * (len(chances) - place) > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(adjusted) if p <= level} == rejected
