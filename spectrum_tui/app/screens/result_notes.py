"""What the results screen says in words: totals, what is missing, and where ties decide."""

from __future__ import annotations

import numpy as np

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core import numbers
from spectrum_tui.core.layer_types import is_output_head
from spectrum_tui.core.policy_values import UNITS
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Generation, Result
from spectrum_tui.core.results.selection import NEVER, Selection, slots
from spectrum_tui.core.settings import DEMO_NAME


def result_label(result: Result) -> str:
    """Return what to call the scored model; the demonstration model is labelled as such."""
    name = result.provenance.model
    return "demo model" if name == DEMO_NAME else name


def totals_text(choice: Choice, sizing: str = "") -> str:
    """Return how many layers are selected and how much of the model that trains; `sizing` is the
    model whose sizes are being read."""
    selection = choice.selection
    result = selection.result
    totals = selection.totals(choice.policy)
    if totals.layers == 0:
        least = selection.smallest_percent(choice.policy)
        if least == NEVER:
            return "No layer has a score, so there is nothing to select"
        return f"No layer is selected: a type gets its first layer at {least:g} %"
    layers = numbers.part_of(totals.layers, len(result.scores), "layer")
    if not result.scores.has_shapes and sizing:
        return f"{layers} · reading the sizes of {printable(sizing)} …"
    if not result.scores.has_shapes:
        return f"{layers} · sizes unknown: scores of another tool"
    trained = numbers.count(totals.parameters)
    if not result.total_parameters:
        return f"{layers} · {trained} parameters train"
    whole, share = numbers.count(result.total_parameters), numbers.percent(totals.share)
    return f"{layers} · {trained} of {whole} parameters train ({share})"


def budget_texts(choice: Choice, needs: float) -> tuple[str, ...]:
    """Return what trains within a budget, of which it `needs` so many bytes or parameters, and
    what is left of it; longest first, "" without a budget."""
    budget = choice.policy.budget
    if budget is None:
        return ("",)
    totals, left = choice.selection.totals(choice.policy), budget.amount - needs
    layers = numbers.counted(totals.layers, "layer")
    trained = f"{numbers.count(totals.parameters)} parameters"
    if budget.in_bytes:
        rest = f"fits {budget.number} {budget.unit}"
        free = f"with {numbers.three_digits(left / UNITS[budget.unit])} {budget.unit} left"
    else:
        rest, free = f"fits {numbers.count(budget.amount)}", f"with {numbers.count(left)} left"
    ways = (f"{layers}, {trained}, {rest} {free}", f"{layers}, {rest} {free}", f"{rest} {free}")
    return (*ways, rest)


def embeddings_text(choice: Choice) -> str:
    """Return whether embeddings and heads are among what trains; empty where the model has none."""
    result = choice.selection.result
    if not result.embeddings:
        return ""
    trained = choice.selection.heads(choice.policy)
    if not trained:
        return f"{_heads(result)} frozen"
    numel = sum(head.numel for head in trained)
    size = f" ({numbers.count(numel)})" if numel else ""
    if len(trained) == len(result.embeddings):
        return f"with {_heads(result)}{size}"
    names = ", ".join(printable(head.name.removesuffix(".weight")) for head in trained)
    return f"with {names}{size}"


def _heads(result: Result) -> str:
    """Such as "embeddings and head", "embeddings and score" or "classifier"."""
    tables = [one for one in result.embeddings if not one.task]
    if not result.task_head:
        return "embeddings and head"
    makes_tokens = any(
        is_output_head(name.removesuffix(".weight")) for h in tables for name in (h.name, *h.tied)
    )
    words = ["embeddings"] if tables else []
    words += ["head"] if makes_tokens else []
    modules = result.task_modules
    name = modules[0].rpartition(".")[2] if len(modules) == 1 else "task heads"
    words.append(printable(name))
    return f"{', '.join(words[:-1])} and {words[-1]}" if words[:-1] else words[0]


def caveats(result: Result) -> list[str]:
    """Return what a user has to know before trusting the selection; empty for a whole own scan."""
    found = []
    scanned = len(result.scores)
    if not result.complete:
        found.append(f"{numbers.part_of(scanned, result.planned, 'layer')} scanned (stopped)")
    if result.scores.problems:
        found.append(f"{len(result.scores.problems):,} failed (✗), never selected")
    if not result.provenance.version:
        found.append(f"imported scores, {_rule(result.provenance.generation)}")
        found.extend(map(printable, result.provenance.notes))
    if unhashed := result.provenance.unhashed:
        found.append(unhashed)
    if result.embeddings_are_guessed:
        found.append(f"names assumed: {', '.join(printable(h.name) for h in result.embeddings)}")
    return found


def _rule(generation: Generation) -> str:
    if generation is Generation.BEFORE_2025_04:
        return "∞ where no noise (before April 2025)"
    return "noise rule unknown" if generation is Generation.UNKNOWN else str(generation)


class Ties:
    """Where the cut of a type falls between equal scores, so that file order decides.

    Common at infinity, which published scores hold plenty of, and among norms, which are all 1.0.
    """

    def __init__(self, selection: Selection) -> None:
        scores = selection.result.scores
        self._selection = selection
        self._names = scores.type_names
        ranked = np.lexsort((selection.rank, scores.type_ids))
        ranked = ranked[selection.rank[ranked] > 0]
        types = scores.type_ids[ranked]
        self._values = scores.values[ranked]
        self._scored = np.bincount(types, minlength=len(self._names))
        self._first = np.concatenate(([0], np.cumsum(self._scored)))[:-1]
        same = (types[1:] == types[:-1]) & (self._values[1:] == self._values[:-1])
        self.possible = bool(same.any())

    def text(self, policy: Policy) -> str:
        """Return which types tie at the cut of a percentage of each; empty where none does."""
        if not policy.is_per_type:
            return ""
        taken = slots(self._selection.percents(policy), self._selection.counts)
        types = np.flatnonzero((taken > 0) & (taken < self._scored))
        below = self._first[types] + taken[types]
        tied = types[self._values[below] == self._values[below - 1]]
        if not len(tied):
            return ""
        if len(tied) > 1:
            cut = self._values[self._first[tied] + taken[tied]]
            return self._many(len(tied), bool(np.isinf(cut).any()))
        return self._one(int(tied[0]), int(taken[tied[0]]))

    def _one(self, kind: int, taken: int) -> str:
        first = int(self._first[kind])
        values = self._values[first : first + int(self._scored[kind])]
        value = values[taken]
        equal = int((values == value).sum())
        name = printable(self._names[kind])
        return f"{name}: {equal} layers tie at {numbers.score(float(value))}; file order decides"

    def _many(self, types: int, infinite: bool) -> str:
        where = "at the cut, some at ∞" if infinite else "at the cut"
        return f"{types:,} types have ties {where}; file order decides among them"
