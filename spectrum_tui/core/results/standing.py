"""Why one layer is selected or not, and what of the policy would change that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from spectrum_tui.core.results.policy import STEPS_OF_A_PERCENT, Policy
from spectrum_tui.core.results.results import IntArray
from spectrum_tui.core.results.selection import NEVER, Hand, Selection


class By(Enum):
    """What decides whether a layer is selected, as tables of layers call it."""

    RULE = "rule"
    TYPE = "type-percent"
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
    by = deciding(selection, policy, np.array([row]))[0]
    if by in (By.HAND, By.NOTHING):
        return Standing(by=by, selected=selected)
    if by is By.EMBEDDINGS:
        return Standing(by=by, selected=not shape.frozen[row])
    if by is By.BUDGET:
        place = int(np.flatnonzero(selection.by_share == row)[0]) + 1
        return Standing(by=by, selected=selected, place=place)
    thresholds = selection.percent_thresholds if by is By.TYPE else shape.threshold
    percent = int(thresholds[row]) / STEPS_OF_A_PERCENT
    return Standing(by=by, selected=selected, percent=percent)


def deciding(selection: Selection, policy: Policy, rows: IntArray) -> list[By]:
    """Return what decides whether each of these layers is selected."""
    own = selection.own_percents(policy)[selection.result.scores.type_ids[rows]]
    decided = (
        (selection.by_hand(policy)[rows] != Hand.NONE, By.HAND),
        (selection.in_embeddings[rows], By.EMBEDDINGS),
        (selection.percent_thresholds[rows] == NEVER, By.NOTHING),
        (~np.isnan(own), By.TYPE),
    )
    otherwise = By.RULE if policy.budget is None else By.BUDGET
    found = np.full(len(rows), otherwise, object)
    for where, by in reversed(decided):
        found[where] = by
    return list(found)
