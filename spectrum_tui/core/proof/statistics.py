"""Means over seeds, and whether a difference between methods is more than chance.

Two methods are compared on the same seeds, which decide the order of the data: the paired t test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.05
"""Of all comparisons of a proof together."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of `count` values; NaN of fewer than two."""

    mean: float
    spread: float
    count: int


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation; both NaN of no value."""
    n = len(values)
    if not n:
        return Spread(math.nan, math.nan, 0)
    mean = math.fsum(values) / n
    if n == 1:
        return Spread(mean, math.nan, 1)
    return Spread(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)), n)


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> tuple[Spread, float]:
    """Return the differences of two methods over the seeds that both have, `one` less `other`, and
    the two-sided p of the paired t test; 1 where it has nothing to go by.

    That is so with fewer than two seeds, and where a seed changes neither method: rows that are
    equal bit by bit are one row.
    """
    seeds = sorted(one.keys() & other.keys())
    found = spread_of([one[seed] - other[seed] for seed in seeds])
    if found.count < 2 or all(len({each[s] for s in seeds}) == 1 for each in (one, other)):
        return found, 1.0
    if not found.spread:
        return found, 0.0 if found.mean else 1.0
    return found, two_sided_p(found.mean / found.spread * math.sqrt(found.count), found.count - 1)


def two_sided_p(t: float, degrees: int) -> float:
    """Return the chance of a |t| as large in Student's distribution with whole degrees of freedom.

    The sums of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4, for
    A(t|ν) = 1 − p; right to about 1e-15, absolutely.
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    series = sine * total if degrees > 1 else 0.0
    inside = 2 / math.pi * (angle + series) if odd else series
    return min(1.0, max(0.0, 1.0 - inside))


@lru_cache(maxsize=64)
def least_t(p: float, degrees: int) -> float:
    """Return the t that has this two-sided p, by halving."""
    low, high = 0.0, 1.0
    while two_sided_p(high, degrees) > p and high < 1e12:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, degrees) > p else (low, middle)
    return high


def least_share(seeds: int, more: int, comparisons: int) -> float:
    """Return the smallest difference that `more` seeds find, as a share of that which `seeds` do,
    where differences spread alike."""
    least, now = (least_t(LEVEL / comparisons, n - 1) / math.sqrt(n) for n in (more, seeds))
    return least / now


def holm(chances: Sequence[float]) -> list[float]:
    """Return p values by Holm's correction over all of them: none of the differences with less
    than 0.05 is there by chance, with 95 % (Holm 1979, Scand. J. Statist. 6, 65-70)."""
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for place, i in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        highest = max(highest, min(1.0, (len(chances) - place) * chances[i]))
        adjusted[i] = highest
    return adjusted
