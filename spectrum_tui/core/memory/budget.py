"""How many layers a budget holds: the largest selection that it pays for."""

from __future__ import annotations

from dataclasses import replace

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError, ResultsError, SelectionError
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.model import NO_SIZES, ModelSizes
from spectrum_tui.core.memory.presets import (
    Training,
    parse_batch,
    parse_gpus,
    parse_sequence,
    preset_named,
    sharding_named,
)
from spectrum_tui.core.policy_values import Budget
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection

_DEFAULT = Training()
_CHECKPOINTING = {"yes": True, "no": False}


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
        raise ResultsError(NO_SIZES, "Give the model that they are of: --sizes-from MODEL.")
    cost = _Cost(policy.budget, selection, parse_way(policy.way, tiers), table)
    low, high = 0, len(selection.by_share)
    if cost.of(replace(policy, layers=high)) <= policy.budget.amount:
        return replace(policy, layers=high)
    while high - low > 1:
        middle = (low + high) // 2
        fits = cost.of(replace(policy, layers=middle)) <= policy.budget.amount
        low, high = (middle, high) if fits else (low, middle)
    found = replace(policy, layers=low)
    if cost.of(found) > policy.budget.amount or not selection.selects_any(found):
        raise _nothing_fits(policy.budget, cost.of(replace(policy, layers=max(low, 1))), policy)
    return found


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
                raise ResultsError(NO_SIZES, "Give the model that they are of: --sizes-from MODEL.")
            self._table = MemoryTable(selection, ModelSizes(result.parameters, result.embeddings))
        self._in_bytes = budget.in_bytes

    def of(self, policy: Policy) -> float:
        if self._in_bytes and self._table is not None:
            return self._table.estimate(policy, self._training).total
        return float(self._selection.totals(policy).parameters)


def _nothing_fits(budget: Budget, needs: float, policy: Policy) -> SelectionError:
    takes = numbers.size(needs) if budget.in_bytes else f"{numbers.count(needs)} parameters"
    freeze = (
        "Freeze embeddings and head (--no-embeddings), or give" if policy.embeddings else "Give"
    )
    other = ", or another --way to train" if budget.in_bytes else ""
    return SelectionError(
        f"Not even one layer fits into {budget.text}: it takes about {takes}.",
        f"{freeze} a larger budget{other}.",
        field="budget",
    )


def parse_way(text: str, tiers: Tiers) -> Training:
    """Return how to train: a preset, and what else is other than usual, as in
    `qlora gpus=2 sharding=zero3 batch=4 sequence=4096 checkpointing=no`. Raises InputError."""
    training = replace(_DEFAULT, tiers=tiers)
    for word in text.split():
        name, sign, value = word.partition("=")
        if not sign:
            training = replace(training, preset=preset_named(name))
            continue
        match name:
            case "gpus":
                training = replace(training, gpus=parse_gpus(value))
            case "sharding":
                training = replace(training, sharding=sharding_named(value))
            case "batch":
                training = replace(training, batch=parse_batch(value))
            case "sequence":
                training = replace(training, sequence=parse_sequence(value))
            case "checkpointing" if value in _CHECKPOINTING:
                training = replace(training, checkpointing=_CHECKPOINTING[value])
            case _:
                raise InputError(
                    f"{word!r} says nothing of a way to train.",
                    "Write 'qlora', or with more: "
                    "'qlora gpus=2 sharding=zero3 batch=4 sequence=4096 checkpointing=no'.",
                    field="way",
                )
    return training


def way_text(training: Training) -> str:
    """Return a way to train as `parse_way` reads it, without what is usual."""
    checkpointing = "yes" if training.checkpointing else "no"
    words = {
        "gpus": (training.gpus, _DEFAULT.gpus),
        "sharding": (training.sharding.name, _DEFAULT.sharding.name),
        "batch": (training.batch, _DEFAULT.batch),
        "sequence": (training.sequence, _DEFAULT.sequence),
        "checkpointing": (checkpointing, "yes"),
    }
    said = (f"{name}={value}" for name, (value, usual) in words.items() if value != usual)
    return " ".join([training.preset.name, *said])
