"""How many layers a budget holds: the largest selection that it pays for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import ResultsError, SelectionError
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.model import NO_SIZES, ModelSizes
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.memory.ways import parse_way
from spectrum_tui.core.policy_values import Budget
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection

_SIZES_FROM = "Give the model that they are of: --sizes-from MODEL."


def filled(
    policy: Policy, selection: Selection, tiers: Tiers, table: MemoryTable | None = None
) -> Policy:
    """Return the policy with as many layers as its budget holds; itself without a budget.

    Layers enter by the share of their type that ranks before them (`Selection.by_share`); what is
    pinned, banned, outside the blocks or has a percentage of its own is as the policy says.
    `table` are the estimates of the selection, where they are made already. Raises SelectionError
    where nothing fits, ResultsError where no sizes are known, InputError for a `way` that there is
    not.
    """
    if policy.budget is None:
        return policy
    if not selection.result.scores.has_shapes:
        raise ResultsError(NO_SIZES, _SIZES_FROM)
    cost = _Cost(policy.budget, selection, parse_way(policy.way, tiers), table)
    amount = policy.budget.amount

    def fits(layers: int) -> bool:
        return cost.of(replace(policy, layers=layers)) <= amount

    low = _most(fits, len(selection.by_share), cost.near(policy))
    found = replace(policy, layers=low)
    if cost.of(found) > policy.budget.amount or not selection.selects_any(found):
        alone = replace(policy, layers=0)
        bare = cost.of(replace(alone, pins=(), embeddings=False))
        if policy.pins and cost.of(alone) > amount >= bare:
            raise _nothing_fits(
                policy.budget, cost.of(alone), policy, "What is pinned does not fit"
            )
        raise _nothing_fits(policy.budget, cost.of(replace(policy, layers=max(low, 1))), policy)
    return found


def _most(fits: Callable[[int], bool], end: int, near: int | None) -> int:
    """Return the largest number up to `end` that fits, 0 where none does; looked for around a
    guess first: 3 looks of 4 ms each at 60,000 layers where halving takes 17."""
    start = end if near is None else min(near, end)
    low, high, step = 0, end + 1, 1
    if start and fits(start):
        low = start
        while low + step < high and fits(low + step):
            low, step = low + step, 2 * step
        high = min(high, low + step)
    elif start:
        high = start
        while near and high - step > low and not fits(high - step):
            high, step = high - step, 2 * step
        low = max(low, high - step) if near else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class _Cost:
    """What a policy takes of a budget: no less where a further layer trains."""

    def __init__(
        self, budget: Budget, selection: Selection, training: Training, table: MemoryTable | None
    ) -> None:
        self._selection = selection
        self._training = training
        self._table = table
        if budget.in_bytes and table is None:
            result = selection.result
            if not result.parameters:
                raise ResultsError(NO_SIZES, _SIZES_FROM)
            self._table = MemoryTable(selection, ModelSizes(result.parameters, result.embeddings))
        self._in_bytes = budget.in_bytes
        self._amount = budget.amount

    def near(self, policy: Policy) -> int | None:
        """Return about how many layers fit, by those that did before the last change and the sizes
        of those next to them; None where there are none."""
        if not policy.layers:
            return None
        preset = self._training.preset
        each = preset.gradients + preset.optimizer if self._in_bytes else 1.0
        sizes = np.cumsum(self._selection.result.scores.numel[self._selection.by_share])
        before = min(policy.layers, len(sizes))
        if preset.adapters and self._in_bytes:
            return before
        target = sizes[before - 1] + (self._amount - self.of(policy)) / each
        return max(1, int(np.searchsorted(sizes, target, "right")))

    def of(self, policy: Policy) -> float:
        if self._in_bytes and self._table is not None:
            return self._table.estimate(policy, self._training).total
        return float(self._selection.totals(policy).parameters)


def _nothing_fits(
    budget: Budget, needs: float, policy: Policy, what: str = "Not even one layer fits"
) -> SelectionError:
    takes = numbers.size(needs) if budget.in_bytes else f"{numbers.count(needs)} parameters"
    freeze = (
        "Freeze embeddings and head (--no-embeddings), or give" if policy.embeddings else "Give"
    )
    other = ", or another --way to train" if budget.in_bytes else ""
    pins = ", or pin fewer layers" if policy.pins else ""
    return SelectionError(
        f"{what} into {budget.text}: it takes about {takes}.",
        f"{freeze} a larger budget{other}{pins}.",
        field="budget",
    )
