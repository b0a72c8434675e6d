"""Rates as they are typed, and the sweeps that find them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.methods import Method, parse_method, parse_methods
from spectrum_tui.core.proof.rates import (
    best_rate,
    first_rates,
    next_rate,
    parse_rates,
    rate_text,
    trial_steps,
)
from spectrum_tui.core.proof.rows import DIVERGED, Losses, Outcome
from tests.unit.proof.proofs import outcome

METHODS = parse_methods("full,top:25,top:50,lora,policy:a=b.yaml")


@pytest.mark.parametrize(("text", "rates"), [
    ("2e-4", dict.fromkeys((m.text for m in METHODS), 2e-4)),
    ("full=2e-5, lora=5e-4", {"full": 2e-5, "lora:100": 5e-4}),
    ("top=1e-4,top:50=3e-4", {"top:25": 1e-4, "top:50": 3e-4}),
    ("policy:a=b.yaml=1e-3", {"policy:a=b.yaml": 1e-3}),
    ("lora=1e-3,2e-4", {"full": 2e-4, "top:25": 2e-4, "top:50": 2e-4, "lora:100": 1e-3,
                        "policy:a=b.yaml": 2e-4}),
])  # fmt: skip
def test_rates_are_read(text: str, rates: dict[str, float]) -> None:
    assert parse_rates(text, METHODS) == rates


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "0",
        "-1e-4",
        "2",
        "nan",
        "inf",
        "full=",
        "full=x",
        "random=1e-4",
        "1e-4x",
        "٣e-4",
        "=1e-4",
        "1e-4,2e-4",
        "full=1e-4,full=2e-4",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_rates(text, METHODS)
    assert caught.value.field == "lr"


def sweep(method: Method, loss: Callable[[float], float]) -> list[Outcome]:
    tried: list[Outcome] = []
    while (rate := next_rate(method, tried)) is not None:
        after = Losses(held_out=loss(rate))
        tried.append(replace(outcome(method.text, 0, 0), rate=rate, trial=True, after=after))
    return tried


TOP = parse_method("top:25")


def around(best: float) -> Callable[[float], float]:
    return lambda rate: abs(math.log(rate / best))


@pytest.mark.parametrize(("best", "rates"), [
    (2e-4, [2e-4, 6.7e-5, 6e-4]),
    (6e-4, [2e-4, 6.7e-5, 6e-4, 1.8e-3]),
    (2e-3, [2e-4, 6.7e-5, 6e-4, 1.8e-3, 5.4e-3]),
    (1.0, [2e-4, 6.7e-5, 6e-4, 1.8e-3, 5.4e-3]),
    (1e-9, [2e-4, 6.7e-5, 6e-4, 2.2e-5, 7.4e-6]),
])  # fmt: skip
def test_a_sweep_goes_on_outwards_while_the_best_is_at_an_edge(
    best: float, rates: list[float]
) -> None:
    tried = sweep(TOP, around(best))
    assert [one.rate for one in tried] == rates
    assert best_rate(tried) == min(rates, key=around(best))


@given(st.lists(st.floats(0, 10) | st.sampled_from([math.nan, math.inf]), min_size=5, max_size=5))
def test_every_sweep_ends_and_takes_the_best_that_it_saw(losses: list[float]) -> None:
    known: dict[float, float] = {}
    tried = sweep(TOP, lambda rate: known.setdefault(rate, losses[len(known)]))
    assert 3 <= len(tried) == len(known) <= 5
    finite = [loss for loss in known.values() if math.isfinite(loss)]
    best = best_rate(tried)
    assert (best is None) == (not finite)
    assert best is None or known[best] == min(finite)


def test_what_diverges_is_tried_with_less() -> None:
    tried = sweep(TOP, lambda rate: rate if rate < 5e-5 else math.nan)
    assert [one.rate for one in tried] == [2e-4, 6.7e-5, 6e-4, 2.2e-5, 7.4e-6]
    assert best_rate(tried) == 7.4e-6


def test_a_trial_that_says_that_it_diverged_is_one() -> None:
    failed = Outcome(method="top:25", seed=0, rate=2e-4, steps=8, trial=True, error=DIVERGED)
    assert next_rate(TOP, [failed]) == 6.7e-5
    assert best_rate([failed]) is None


def test_a_trial_that_cannot_run_ends_the_sweep() -> None:
    failed = Outcome(method="full", seed=0, rate=5e-5, steps=8, error="out of memory")
    assert next_rate(parse_method("full"), [failed]) is None
    assert best_rate([failed]) is None and best_rate([]) is None


def test_what_trains_less_is_tried_with_more() -> None:
    middle = [first_rates(parse_method(text))[0] for text in ("full", "random", "lora")]
    assert middle == [5e-5, 2e-4, 5e-4]
    assert [trial_steps(steps) for steps in (4, 32, 200)] == [8, 8, 50]
    assert [rate_text(rate) for rate in (2e-4, 6.7e-5, 0.5)] == ["2e-4", "6.7e-5", "5e-1"]
