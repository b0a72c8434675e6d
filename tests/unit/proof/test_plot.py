"""The picture of a proof: well-formed, labels apart, and nothing in a name that is drawn or run."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.core.proof.plot import beside, plot, spaced
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rows import Outcome
from tests.unit.proof.proofs import outcome, outcomes, proof

SVG = "{http://www.w3.org/2000/svg}"
METHODS = [
    "full", "top:25", "random:25", "bottom:25", "lora:100", "qlora:100", "metric:calibrated:25",
    "top:50", "random:50", "tiers:25", "hybrid:25", f"policy:{'long' * 20}.yaml",
]  # fmt: skip


def drawn(made: Proof) -> ElementTree.Element:
    return ElementTree.fromstring(plot(made))


def texts(root: ElementTree.Element) -> list[tuple[str, float, float]]:
    return [
        (node.text or "", float(node.attrib["x"]), float(node.attrib["y"]))
        for node in root.iter(f"{SVG}text")
    ]


def rows_of(methods: list[str], step: float) -> list[Outcome]:
    return [
        outcome(method, seed, 2.7 + step * place + 0.01 * seed, 3.7)
        for place, method in enumerate(methods)
        for seed in range(3)
    ]


@pytest.mark.parametrize("step", [0.0, 0.001, 0.02])
@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_labels_lie_apart_and_inside(count: int, step: float) -> None:
    root = drawn(proof(rows_of(METHODS[:count], step)))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    found = texts(root)
    assert all(0 < x < width and 0 < y < height for _, x, y in found)
    labels = sorted(y for text, _, y in found if "±" in text and "mean" not in text)
    assert len(labels) == count
    assert all(b - a >= 17.9 for a, b in pairwise(labels))
    names = {text for text, _, _ in found}
    assert set(METHODS[: min(count, 11)]) <= names
    assert not any("long" * 7 in name for name in names)


def test_every_panel_has_every_method_at_its_loss() -> None:
    root = drawn(proof(outcomes({"full": [2.7, 2.72], "top:25": [2.8, 2.82]})))
    found = texts(root)
    for title in ("trained parameters", "peak memory", "time of a step"):
        assert title in {text for text, _, _ in found}
    assert not any("kept" in text for text, _, _ in found)
    places = [
        tuple(map(float, node.attrib["transform"][10:-1].split()))
        for node in root.iter(f"{SVG}path")
        if "transform" in node.attrib
    ]
    assert len(places) == 2 * 4  # three panels and the labels
    assert len({y for _, y in places}) == 2
    full, top = sorted({y for _, y in places}, reverse=True)
    assert full > top  # the lower loss is lower in the picture
    assert sum("mean ± standard deviation over 2 seeds" in text for text, _, _ in found) == 1


def test_the_kept_text_has_a_panel_where_it_is_judged() -> None:
    root = drawn(proof(outcomes({"full": [2.7, 2.72]}, {"full": [3.6, 3.8]})))
    assert "loss on the kept text, change" in {text for text, _, _ in texts(root)}


def test_what_is_missing_is_left_out_and_said() -> None:
    failed = Outcome(method="full", seed=0, rate=1e-4, steps=9, error="out of memory")
    found = {text for text, _, _ in texts(drawn(proof([failed, *outcomes({"top:25": [2.7]})])))}
    assert "Without a result: full (out of memory)" in found and "2.700" in found
    nothing = {text for text, _, _ in texts(drawn(proof([failed])))}
    assert "No row came to an end." in nothing
    diverged = proof(outcomes({"top:25": [math.nan]}))
    assert "No row came to an end." in {text for text, _, _ in texts(drawn(diverged))}


def test_names_are_shown_and_not_obeyed() -> None:
    name = 'policy:</text><script>alert(1)</script>&"\x1b\x00'
    root = drawn(proof([outcome(name, 0, 2.7)], model='a"<b>&\x07'))
    assert {node.tag for node in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "style", "rect", "text", "path")
    }
    assert root.attrib["aria-label"].startswith('a"<b>&?')


@given(st.lists(st.floats(0, 280), min_size=1, max_size=15), st.just(18.0))
def test_places_are_apart_inside_and_no_farther_than_needed(
    wanted: list[float], apart: float
) -> None:
    wanted.sort()
    found = spaced(wanted, apart, 0, 280)
    assert all(b - a >= apart - 1e-6 for a, b in pairwise(found))
    assert found[0] >= -1e-6 and found[-1] <= 280 + 1e-6
    if all(b - a >= apart for a, b in pairwise(wanted)):
        assert found == pytest.approx(wanted)


def test_equals_stand_side_by_side_and_others_where_they_are() -> None:
    assert beside([10, 50, 10, 11], 9) == pytest.approx([1.33, 50, 10.33, 19.33], abs=0.01)
    assert beside([10, 10], 0) == [10, 10]
    assert beside([10, 14], 9) == [10, 14]


def test_a_run_that_ended_in_its_trials_is_drawn() -> None:
    trial = replace(outcome("full", 0, 2.7, 3.7), trial=True)
    said = [text for text, _, _ in texts(drawn(proof([trial])))]
    assert "No row came to an end." in said
    assert not any(text.startswith("Without a result") for text in said)
