"""Why one layer is selected or not, and what of the policy would change that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from spectrum_tui.core.policy_values import PER_TYPE
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import NEVER, Hand, Selection, percent_of_step


class By(Enum):
    """What decides whether a layer is selected."""

    RULE = "rule"
    TYPE = "the percentage of its own type"
    BUDGET = "budget"
    HAND = "hand"
    EMBEDDINGS = "embeddings"
    NOTHING = "no score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`by` what a layer is `selected` or not. `percent` is the one from which on it is selected, of
    all types or of its own; `place` counts from 1 in the order in which a budget takes layers."""

    by: By
    selected: bool
    percent: float | None = None
    place: int = 0


def standing(selection: Selection, policy: Policy, row: int) -> Standing:
    """Return why a layer is selected or not; embeddings and heads are where they train."""
    shape = selection.shape(policy)
    selected = bool(shape.threshold[row] <= policy.step)
    if selection.by_hand(policy)[row] != Hand.NONE:
        return Standing(by=By.HAND, selected=selected)
    if selection.in_embeddings[row]:
        trains = not shape.frozen[row]
        return Standing(by=By.EMBEDDINGS, selected=trains)
    if selection.percent_thresholds[row] == NEVER:
        return Standing(by=By.NOTHING, selected=False)
    kind = int(selection.result.scores.type_ids[row])
    if selection.own_percent(selection.result.scores.type_names[kind], policy) is not None:
        step = int(selection.percent_thresholds[row])
        percent = percent_of_step(step, int(selection.counts[kind]))
        return Standing(by=By.TYPE, selected=selected, percent=percent)
    if policy.budget is not None:
        place = int(np.flatnonzero(selection.by_share == row)[0]) + 1
        return Standing(by=By.BUDGET, selected=selected, place=place)
    layers = selection.counts[kind] if policy.rule == PER_TYPE else selection.counts.sum()
    percent = percent_of_step(int(shape.threshold[row]), int(layers))
    return Standing(by=By.RULE, selected=selected, percent=percent)
