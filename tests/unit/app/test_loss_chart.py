"""The curves of a proof in dots."""

from __future__ import annotations

import math

import pytest

from spectrum_tui.app.widgets.loss_chart import Curve, _cells, _label, _range, smoothed, window_of


def test_points_are_means_of_the_steps_before() -> None:
    points = tuple((step, float(step)) for step in range(1, 6))
    assert smoothed(points, 1) == points
    assert smoothed(points, 3) == ((1, 1.0), (2, 1.5), (3, 2.0), (4, 3.0), (5, 4.0))
    assert (window_of(8), window_of(200)) == (1, 10)


def test_a_loss_that_is_no_number_is_left_out() -> None:
    points = ((1, 2.0), (2, math.nan), (3, math.inf), (4, 4.0))
    assert smoothed(points, 2) == ((1, 2.0), (4, 3.0))


def test_what_diverges_does_not_flatten_the_others() -> None:
    falling = Curve(tuple((step, 3 - step / 100) for step in range(1, 100)))
    low, high = _range([falling, Curve(((1, 3.0), (2, 900.0)))])
    assert low == 3 - 0.99 and high < 5
    assert _range([falling]) == (2.01, 2.99)


def test_a_line_goes_from_corner_to_corner() -> None:
    cells = _cells([Curve(((1, 2.0), (100, 1.0)))], 4, 2, (1.0, 2.0), 100)
    drawn = ["".join(chr(0x2800 + dots) for dots in row) for row in cells]
    assert drawn == ["⠑⢄⠀⠀", "⠀⠀⠑⢄"]


def test_what_is_beyond_the_edge_is_drawn_on_it() -> None:
    (row,) = _cells([Curve(((1, 99.0), (2, -5.0)))], 1, 1, (1.0, 2.0), 2)
    assert row[0] & 0x01 and row[0] & 0x80


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (0.5, "0.500"),
        (10.2937, "10.294"),
        (123.456, "123.46"),
        (12345.6, "12346"),
        (123456.7, "123457"),
        (12345678.9, "1e+07"),
        (3e38, "3e+38"),
    ],
)
def test_the_axis_has_the_whole_loss(loss: float, text: str) -> None:
    assert _label(loss) == text


def test_losses_beyond_what_float32_holds_are_left_out() -> None:
    assert smoothed(((1, 1e308), (2, 3e38), (3, -1e308)), 2) == ((2, 3e38),)
    flat = Curve(((1, 3e38), (2, 3e38)))
    low, high = _range([flat])
    assert low < 3e38 < high
    assert len(_cells([flat], 4, 2, (low, high), 2)) == 2
