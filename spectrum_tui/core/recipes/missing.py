"""Layers without a score: how many a recipe says there are, and when there are too many."""

from __future__ import annotations

import re

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.results.results import BoolArray, Parameter, Result, Scores

MOST_MISSING = 0.1
"""The share of the chosen types' parameters that may lack a score: above it, what was scored says
little of what was not."""

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def _missing(scores: Scores) -> BoolArray:
    """Per layer whether it has no score: those of another tool are NaN without a reason."""
    return np.isnan(scores.snr)


def missing_note(result: Result) -> str:
    """How many layers of the chosen types have no score, as a recipe's comment says it; empty
    where all have one."""
    skipped = _skipped(result)
    count = int(_missing(result.scores).sum()) + len(skipped)
    layers = part_of(count, len(result.scores) + len(skipped), "layer", "has", "have")
    return f"{layers} no score" if count else ""


def refuse_missing(result: Result, *, allowed: bool) -> None:
    """Raise SelectionError where too many layers could not be scored, unless that is `allowed`.

    By their parameters, or by their number where no size is known.
    """
    scores = result.scores
    weights = scores.numel if scores.has_shapes else np.ones(len(scores))
    unseen = sum(parameter.numel for parameter in _skipped(result))
    missing = float(weights[_missing(scores)].sum()) + unseen
    share = missing / max(float(weights.sum()) + unseen, 1.0)
    if allowed or share <= MOST_MISSING:
        return
    raise SelectionError(
        f"{missing_note(result)}: {numbers.percent(share)} of the parameters of the chosen types, "
        "which a recipe would leave frozen unseen.",
        "Put right what failed and scan again, or give --allow-missing.",
    )


def _skipped(result: Result) -> list[Parameter]:
    """The parameters that could not even be tried (not stored, of another shape or type), where
    others that differ from them by running numbers alone were: those are layers of one type."""
    skipped = {name for name, _ in result.skipped}
    if not skipped:
        return []
    chosen = {_role(names[0]) for names in result.scores.parameters if names}
    return [p for p in result.parameters if p.name in skipped and _role(p.name) in chosen]


def _role(parameter: str) -> str:
    return _NUMBER.sub("*", parameter)
