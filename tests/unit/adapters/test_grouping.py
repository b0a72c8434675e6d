"""Which layers share an adapter, by sketches whose cosines are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectrum_tui.core.adapters.grouping import similar_groups

KIND = ("mlp", (8, 8), 2.0)


def at(*degrees: float) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Layers a, b, … whose gradients point at these angles in a plane, of different lengths."""
    names = "abcdefgh"
    turned = ((math.cos(math.radians(d)), math.sin(math.radians(d))) for d in degrees)
    return {names[i]: (i + 1) * np.array([pair]) for i, pair in enumerate(turned)}


def test_every_two_layers_of_a_group_are_alike() -> None:
    # a-b 50°, b-c 50°, a-c 100°: the two closest come together, and c does not reach a
    found = similar_groups(at(0, 49, 100, 200), dict.fromkeys("abcd", KIND), 0.5)
    assert found.groups == (("a", "b"),)
    assert (found.closest, found.pairs) == (("a", "b"), 6)
    assert found.largest == pytest.approx(math.cos(math.radians(49)))
    cosines = [math.cos(math.radians(d)) for d in (49, 100, 200, 51, 151, 100)]
    assert found.middle == pytest.approx(np.median(cosines))
    assert found.text.startswith("2 layers in 1 adapter from now on; the most similar gradients")
    three = similar_groups(at(0, 20, 40, 200), dict.fromkeys("abcd", KIND), 0.5)
    assert three.groups == (("a", "b", "c"),)


def test_layers_of_another_kind_and_without_a_gradient_stay_apart() -> None:
    kinds = {**dict.fromkeys("ab", KIND), "c": ("mlp", (8, 9), 2.0)}
    assert similar_groups(at(0, 90, 0), kinds, 0.5).groups == ()
    sketches = at(0, 0, 0)
    sketches["b"] *= 0
    assert similar_groups(sketches, dict.fromkeys("abc", KIND), 0.5).groups == (("a", "c"),)


def test_what_is_said_where_nothing_is_alike() -> None:
    found = similar_groups(at(0, 80), dict.fromkeys("ab", KIND), 0.5)
    assert found.groups == ()
    assert found.text == (
        "the most similar gradients are those of a and b (cosine 0.174), the median of 1 pair is "
        "0.174: none reaches 0.5, nothing is shared"
    )
    alone = similar_groups(at(0), {"a": KIND}, 0.5)
    assert alone.text == "no two adapters are of one type and shape: nothing is shared"
