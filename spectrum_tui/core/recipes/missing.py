"""Layers without a score: how many a recipe says there are, and when there are too many."""

from __future__ import annotations

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.results import BoolArray, Result, Scores

MOST_MISSING = 0.1
"""The share of the chosen types' parameters that may lack a score: above it, what was scored says
little of what was not."""


def _missing(scores: Scores) -> BoolArray:
    """Per layer whether it has no score: those of another tool are NaN without a reason."""
    return np.isnan(scores.snr)


def missing_note(result: Result) -> str:
    """How many layers of the chosen types have no score, as a recipe's comment says it; empty
    where all have one."""
    count = int(_missing(result.scores).sum())
    layers = part_of(count, len(result.scores), "layer", "has", "have")
    return f"{layers} no score" if count else ""


def refuse_missing(result: Result, *, allowed: bool) -> None:
    """Raise SelectionError where too many layers could not be scored, unless that is `allowed`.

    By their parameters, or by their number where no size is known.
    """
    scores = result.scores
    weights = scores.numel if scores.has_shapes else np.ones(len(scores))
    share = float(weights[_missing(scores)].sum() / max(weights.sum(), 1.0))
    if allowed or share <= MOST_MISSING:
        return
    raise SelectionError(
        f"{missing_note(result)}: {numbers.percent(share)} of the parameters of the chosen types, "
        "which a recipe would leave frozen unseen.",
        "Put right what failed and scan again, or give --allow-missing.",
    )
