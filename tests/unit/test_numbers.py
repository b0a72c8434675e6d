"""Numbers as shown: units, digits, and never wider than promised."""

from __future__ import annotations

import math
import random

import pytest

from spectrum_tui.core.numbers import about, count, duration, percent, score, size, three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (17, "17"),
        (999, "999"),
        (1000, "1.00 K"),
        (12_345, "12.3 K"),
        (494_032_768, "494 M"),
        (999_499, "999 K"),
        (999_950, "1.00 M"),
        (8_030_261_248, "8.03 B"),
        (1.2e12, "1.20 T"),
        (3.4e15, "3400 T"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (16.06e9, "16.1 GB"), (2.5e12, "2.50 TB")],
)
def test_size(value: float, text: str) -> None:
    assert size(value) == text


def test_a_count_keeps_three_digits_of_the_truth() -> None:
    rng = random.Random(1)
    units = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
    for _ in range(2000):
        value = 10 ** rng.uniform(3, 14.9)
        number, unit = count(value).split()
        assert float(number) * units[unit] == pytest.approx(value, rel=5.1e-3)
        assert 1.0 <= float(number) < 1000 or unit == "T"


@pytest.mark.parametrize(("value", "text"), [(9.994, "9.99"), (9.996, "10.0"), (99.96, "100")])
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.4, "8 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (math.nan, "–"),
        (math.inf, "–"),
        (-1, "–"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than 1 s"),
        (3.2, "about 3 s"),
        (9.7, "about 10 s"),
        (43, "about 45 s"),
        (57, "about 1 min"),
        (240, "about 4 min"),
        (3580, "about 1 h 00 min"),
        (7600, "about 2 h 05 min"),
        (math.inf, "–"),
    ],
)
def test_about(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_about_is_near_the_truth() -> None:
    for tenth in range(10, 100_000, 7):
        seconds = tenth / 10
        text = about(seconds).removeprefix("about ")
        parts = text.split()
        unit = {"s": 1, "min": 60, "h": 3600}
        told = sum(int(n) * unit[u] for n, u in zip(parts[::2], parts[1::2], strict=True))
        assert abs(told - seconds) <= max(0.51, seconds * 0.34)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.43117, "0.4312"),
        (1.0, "1.0000"),
        (12.306, "12.31"),
        (4.5e25, "4.5e25"),
        (1e-12, "1.0e-12"),
        (0.0, "0.0000"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_score(value: float, text: str) -> None:
    assert score(value) == text


def test_a_score_is_at_most_eight_characters() -> None:
    rng = random.Random(2)
    edges = [9.99999, 99999.994, 99999.996, 99999.9999, 1e5, 1e-4, 9.9e-5, 9.96e99, 1e308, 1e-300]
    for value in [*edges, *(10 ** rng.uniform(-300, 300) for _ in range(2000))]:
        assert len(score(value)) <= 8, value
        assert float(score(value)) == pytest.approx(value, rel=0.06, abs=6e-5)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0 %"),
        (0.125, "12.5 %"),
        (1, "100.0 %"),
        (0.0003, "0.03 %"),
        (0.001, "0.1 %"),
        (0.9997, "99.9 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text
