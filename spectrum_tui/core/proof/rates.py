"""The rate that each method is trained with: as typed, or found by a few short trials.

One rate for all decides the result, since what trains less of a model stands a higher one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.option import number
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.rows import DIVERGED, Outcome
from spectrum_tui.core.proof.summary import ended
from spectrum_tui.core.text import safe

FACTOR = 3.0
"""Between one rate of a sweep and the next."""
FIRST, MOST = 3, 5
"""Trials of a method: the usual rate and its neighbours, and with those beyond an edge."""
FEWEST_STEPS = 8
"""Of a trial, however short the rows are."""


def usual_rate(method: Method) -> float:
    """Return the middle of a method's sweep, which AdamW is usually given."""
    return 5e-4 if method.adapts else 5e-5 if method.kind == "full" else 2e-4


def parse_rates(text: str, methods: Sequence[Method]) -> dict[str, float]:
    """Return the rates that are typed, by method: `2e-4` for all, `full=2e-5,lora=2e-4` for some,
    by their kind or as they are typed, `2e-4,full=2e-5` for all others. Raises InputError (field
    "lr")."""
    rates: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, named, typed = (one.strip() for one in part.rpartition("="))
        if (named and not name) or name in rates:
            problem = "has no method" if named and not name else "is the second for its method"
            raise InputError(
                f"The rate {safe(part)!r} {problem}.", "Give one, as full=2e-5.", field="lr"
            )
        rates[name] = _rate(typed)
    if not rates:
        raise InputError("No rate is given.", "Give one, as 2e-4 or full=2e-5.", field="lr")
    known = {"", *(m.text for m in methods), *(m.kind for m in methods)}
    if unknown := [name for name in rates if name not in known]:
        raise InputError(
            f"No method {safe(unknown[0])!r} is compared, so it needs no rate.",
            f"The methods are: {', '.join(m.text for m in methods)}.",
            field="lr",
        )
    found = {m.text: [rates[n] for n in (m.text, m.kind, "") if n in rates] for m in methods}
    return {name: each[0] for name, each in found.items() if each}


def _rate(typed: str) -> float:
    rate = number(typed)
    if not 0 < rate <= 1:
        raise InputError(
            f"The rate {safe(typed.strip())!r} is not usable.",
            "Give a number above 0, up to 1, as 2e-4.",
            field="lr",
        )
    return rate


def rate_text(rate: float) -> str:
    """Return a rate as it is typed, to two digits: `2e-4`."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def trial_steps(steps: int) -> int:
    """Return how long the trials of rows of so many steps are."""
    return max(FEWEST_STEPS, steps // 4)


def first_rates(method: Method) -> tuple[float, ...]:
    """Return the rates that are tried in any case, the usual one first."""
    return tuple(_step(method, k) for k in (0, -1, 1))


def next_rate(method: Method, tried: Iterable[Outcome]) -> float | None:
    """Return the rate to try next, given the trials of this method so far; None where the best is
    known, or where a trial could not run.

    While the best is the lowest or the highest, one beyond it is tried, up to `MOST` in all.
    """
    losses = _losses(tried)
    if losses is None:
        return None
    for rate in first_rates(method):
        if rate not in losses:
            return rate
    low, high = -1, 1
    while high - low + 1 < MOST:
        best = min(range(low, high + 1), key=lambda k: losses[_step(method, k)])
        if low < best < high:
            return None
        k = low - 1 if best == low else high + 1
        low, high = min(low, k), max(high, k)
        if _step(method, k) not in losses:
            return _step(method, k)
    return None


def best_rate(tried: Iterable[Outcome]) -> float | None:
    """Return the rate of the lowest loss on the text of the trials, the lower one of equals; None
    where no trial has one."""
    losses = _losses(tried) or {}
    best = min(sorted(losses), key=lambda rate: losses[rate], default=None)
    return None if best is None or losses[best] == math.inf else best


def _step(method: Method, k: int) -> float:
    """Return the usual rate, `k` factors higher, to two digits."""
    return float(f"{usual_rate(method) * FACTOR**k:.1e}")


def _losses(tried: Iterable[Outcome]) -> dict[float, float] | None:
    """Return the loss of every rate, infinite where it diverged; None where a trial failed."""
    losses: dict[float, float] = {}
    for outcome in tried:
        if ended(outcome) and outcome.after is not None:
            losses[outcome.rate] = outcome.after.held_out
        elif outcome.error in ("", DIVERGED):
            losses[outcome.rate] = math.inf
        else:
            return None
    return losses
