"""What the results screen knows: how the result is ranked, and what is chosen of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from spectrum_tui.app.screens.result_notes import Ties
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.core.errors import SelectionError, SpectrumError
from spectrum_tui.core.layer_types import family
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.memory.ways import parse_way
from spectrum_tui.core.numbers import part_of
from spectrum_tui.core.policy_values import RULES, Budget, card_of
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND
from spectrum_tui.core.recipes.spectrum import SpectrumYaml, YamlView
from spectrum_tui.core.recipes.writing import drafted
from spectrum_tui.core.results.changes import (
    banned,
    from_block,
    next_percent,
    pinned,
    slid,
    with_type_percents,
)
from spectrum_tui.core.results.changes import described as policy_change
from spectrum_tui.core.results.history import History, Step
from spectrum_tui.core.results.names import filter_names
from spectrum_tui.core.results.policy import Policy, policy_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import COMPARABLE, Selection
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import METRICS, Settings

Change = Callable[[Policy, Sequence[str], Mapping[str, int]], Policy]
"""What is done to a policy for some layers, given all of them."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What undo and redo go over: what trains, by which metric, in which way, and on what card."""

    policy: Policy
    metric: str
    way: str
    card: Budget | None


def described_change(before: Chosen, after: Chosen) -> str:
    """Return what was changed, in a few words: `25 % to 30 %`, `trained by qlora, card 24GiB`."""
    said = []
    if before.metric != after.metric:
        said.append(f"ranked by {after.metric}")
    if replace(before.policy, way=after.policy.way) != after.policy:
        said.append(policy_change(before.policy, after.policy))
    if before.way != after.way:
        said.append(f"trained by {after.way}")
    if before.card != after.card and not (after.card and after.card == after.policy.budget):
        said.append(f"card {after.card.text}" if after.card else "no card")
    return ", ".join(said)


class Ranking:
    """A result in one metric, and what follows from it; the file waits until it is looked at."""

    def __init__(self, result: Result, other: Ranking | None = None) -> None:
        self.result = result
        self.metric = described(result.scores.metric)
        self.selection: Selection = Selection(result, other.selection if other else None)
        self.ties = Ties(self.selection)

    @cached_property
    def recipe(self) -> SpectrumYaml:
        return SpectrumYaml(self.selection)


class ResultState:
    """A result in the metric that is shown, and the choice that the views show and dialogs change.

    Whoever changes the choice puts another one in its place, and what `watch` was given is called.
    """

    def __init__(
        self,
        result: Result,
        settings: Settings,
        *,
        policy: Policy | None = None,
        tiers: Tiers | None = None,
        kind: str = "",
    ) -> None:
        """`policy`: what is chosen, where the settings do not say it; `kind`: the name of the kind
        of recipe to offer first when saving."""
        self.settings = settings
        self._whole = result
        self._rankings: dict[str, Ranking] = {}
        wanted = settings.metric if settings.metric in result.metrics else ""
        self.ranking = self._ranked(wanted or result.scores.metric)
        self._watchers: list[Callable[[], None]] = []
        self.refused: list[tuple[str, SpectrumError]] = []
        """What is taken in place of what was asked for, and why."""
        card = card_of(settings.card) if settings.card else None
        self.memory = TrainingMemory(result, self._training(settings.way), card)
        self._choice = Choice(
            selection=self.ranking.selection,
            policy=self._allowed(policy or policy_of(settings), tiers or Tiers()),
            tiers=tiers or Tiers(),
            allow_missing=settings.allow_missing,
        )
        self._follow_budget()
        self._chosen = self._present
        self.history = History(described_change)
        self.refuse: Callable[[SpectrumError], None] = lambda error: None
        """Called with the reason for which a change is not made."""
        self.kind = kind
        self.sizing = ""
        """The model whose sizes are being read, "" while none is."""
        self.saved: Path | None = None
        """The recipe that was written last."""
        self.saved_policy = self._choice.policy
        """The policy as it was opened or saved last."""

    def _training(self, way: str) -> Training:
        try:
            return parse_way(way, Tiers())
        except SpectrumError as error:
            self.refused.append(("Trained in the usual way", error))
            return Training()

    def _allowed(self, policy: Policy, tiers: Tiers) -> Policy:
        """Return the policy with its budget filled, or its percentage alone where these scores do
        not allow the rest."""
        try:
            policy = self._filled(policy, self.ranking.selection, tiers)
            self.ranking.selection.shape(policy)
        except SpectrumError as error:
            self.refused.append(("Only the percentage is taken", error))
            return Policy(percent=policy.percent, embeddings=policy.embeddings)
        return policy

    def _filled(self, policy: Policy, selection: Selection, tiers: Tiers) -> Policy:
        in_bytes = policy.budget is not None and policy.budget.in_bytes and self.memory.possible
        return filled(policy, selection, tiers, self.memory.table(selection) if in_bytes else None)

    @property
    def choice(self) -> Choice:
        """What is selected and how it trains; to assign another one is to show it."""
        return self._choice

    @choice.setter
    def choice(self, choice: Choice) -> None:
        self._choice = choice
        before, self._chosen = self._chosen, self._present
        if before != self._chosen:
            same = replace(before, policy=choice.policy) == self._chosen
            sliding = slid(before.policy, choice.policy) if same else ""
            self.history.add(before, self._chosen, sliding)
        self.changed()

    @property
    def _present(self) -> Chosen:
        metric = self.ranking.metric.name
        return Chosen(self._choice.policy, metric, self.memory.way, self.memory.card)

    def _follow_budget(self) -> None:
        """Train in the way, and on the card, that a budget of memory is of."""
        policy = self._choice.policy
        if policy.budget is not None and policy.budget.in_bytes:
            self.memory.train(policy.way, self._choice.tiers)
            self.memory.card = policy.budget

    @property
    def is_unsaved(self) -> bool:
        """Whether leaving would lose what was shaped by hand; a percentage is moved again in no
        time."""
        return self.choice.policy.shape != self.saved_policy.shape

    def watch(self, follow: Callable[[], None]) -> None:
        """Have `follow` called after every change, before the next frame."""
        self._watchers.append(follow)

    def changed(self) -> None:
        for follow in self._watchers:
            follow()

    def of(self, result: Result) -> ResultState:
        """Return the same metric and choice of another result."""
        choice = self.choice
        metric = self.ranking.metric.name
        state = ResultState(
            result,
            replace(self.settings, metric=metric),
            policy=choice.policy,
            tiers=choice.tiers,
            kind=self.kind,
        )
        state.saved_policy, state.history = self.saved_policy, self.history
        return state

    @property
    def result(self) -> Result:
        return self.ranking.result

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that the scores can be ranked by."""
        return tuple(self._whole.metrics)

    @property
    def has_metrics(self) -> bool:
        return len(self.metrics) > 1

    def rank_by(self, metric: str = "") -> None:
        """Rank by a metric, or by the next one; raises ResultsError where the result lacks it,
        and what a policy raises that these scores do not allow."""
        ranking = self._ranked(metric or self._next_metric())
        policy = self._filled(self.choice.policy, ranking.selection, self.choice.tiers)
        ranking.selection.shape(policy)
        self.ranking = ranking
        self.choice = replace(self.choice, selection=ranking.selection, policy=policy)

    def _ranked(self, metric: str) -> Ranking:
        """Return the ranking by a metric, made when it is first shown and kept for the next
        time."""
        if metric not in self._rankings:
            other = next(iter(self._rankings.values()), None)
            self._rankings[metric] = Ranking(self._whole.with_metric(metric), other)
        return self._rankings[metric]

    def _next_metric(self) -> str:
        """Return the metric that follows, or one that the result lacks where it has no other."""
        shown, names = self.ranking.metric.name, self._whole.metrics
        if not self.has_metrics:
            return next(name for name in METRICS if name != shown)
        return names[(names.index(shown) + 1) % len(names)]

    def choose(self, **changes: Any) -> None:
        """Change the policy in these fields."""
        self.shape(replace(self.choice.policy, **changes))

    def shape(self, policy: Policy) -> None:
        """Choose by another policy, its budget filled anew; raises what one raises that these
        scores do not allow. Where the budget holds nothing then, all stays as it is, and `refuse`
        is told."""
        try:
            policy = self._filled(policy, self.choice.selection, self.choice.tiers)
        except SelectionError as error:
            self.refuse(error)
            policy = self.choice.policy
        self.choice.selection.shape(policy)
        self.choice = replace(self.choice, policy=policy)

    def slide(self, percent: float) -> None:
        """Choose by a percentage, in place of a budget."""
        policy = replace(self.choice.policy, percent=percent)
        self.shape(policy.without_budget())

    def train_as_set(self) -> None:
        """Follow the way to train and the card that were set: fill a budget of memory anew."""
        policy, card = self.choice.policy, self.memory.card
        if policy.budget is not None and policy.budget.in_bytes:
            policy = replace(policy, budget=card or policy.budget, way=self.memory.way)
        self.shape(policy)

    def pin(self, rows: Sequence[int]) -> None:
        """Pin these layers, or no longer where all of them are."""
        self._by_hand(pinned, rows)

    def ban(self, rows: Sequence[int]) -> None:
        """Ban these layers, or no longer where all of them are."""
        self._by_hand(banned, rows)

    def _by_hand(self, change: Change, rows: Sequence[int]) -> None:
        names = self.result.scores.layers
        every = self.choice.selection.rows_by_name
        if rows:
            self.shape(change(self.choice.policy, [names[row] for row in rows], every))

    def move_types(self, types: Sequence[int], by: int) -> None:
        """Give these types the next percentage above or below that selects another number of their
        layers."""
        policy, selection = self.choice.policy, self.choice.selection
        percents, counts = selection.percents(policy), selection.counts
        common = policy.percent if policy.is_per_type else None
        moved = {
            kind: next_percent(float(percents[kind]), int(counts[kind]), by, common)
            for kind in types
        }
        if len({float(percents[kind]) for kind in types}) == 1:  # they stay together
            changed = [new for kind, new in moved.items() if new != percents[kind]]
            nearest = (min if by > 0 else max)(changed, default=float(percents[types[0]]))
            moved = dict.fromkeys(types, nearest)
        self.give_types(moved)

    def give_types(self, percents: Mapping[int, float | None]) -> None:
        """Give types these percentages of their own, None for none."""
        names, policy = self.result.scores.type_names, self.choice.policy
        own = {names[kind]: percent for kind, percent in percents.items()}
        pattern = family(next(iter(own)))
        exact = len(filter_names(names, pattern)) == len(filter_names(own, pattern)) == len(own)
        self.shape(with_type_percents(policy, own, pattern if exact else ""))

    def types_name(self, types: Sequence[int]) -> str:
        """Return what these types are called together."""
        name = self.result.scores.type_names[types[0]]
        return name if len(types) == 1 else f"{family(name)} ×{len(types)}"

    def types_text(self, types: Sequence[int]) -> str:
        """Return the percentage of these types, and how many of their layers are selected."""
        policy, selection = self.choice.policy, self.choice.selection
        percent = float(selection.percents(policy)[types[0]])
        rows = np.isin(self.result.scores.type_ids, types)
        chosen = part_of(int(self.choice.mask()[rows].sum()), int(rows.sum()), "layer")
        return f"{self.types_name(types)}: {percent:g} %, {chosen}"

    def next_rule(self) -> None:
        """Take the percentage of each type, of all layers by rank, or by score where scores of
        different types compare."""
        policy, comparable = self.choice.policy, self.ranking.metric.name in COMPARABLE
        rules = [name for name, rule in RULES.items() if comparable or not rule.compares]
        place = rules.index(policy.rule) if policy.budget is None else -1
        self.shape(replace(policy.without_budget(), rule=rules[(place + 1) % len(rules)]))

    def move_first_block(self, by: int) -> None:
        """Let fewer or more blocks train, counted from below."""
        policy = self.choice.policy
        first = policy.blocks[0][0] if policy.blocks else 0
        last = self.choice.selection.last_block
        self.shape(from_block(policy, min(last, max(0, first + by))))

    def undo(self) -> str:
        """Take the last change of the policy back; returns what that was, "" without any."""
        return self._go(self.history.undo(self._chosen))

    def redo(self) -> str:
        """Make the change that was last undone again; returns what that is, "" without any."""
        return self._go(self.history.redo(self._chosen))

    def _go(self, step: Step[Chosen] | None) -> str:
        if step is None:
            return ""
        self._chosen = step.value
        self.ranking = self._ranked(step.value.metric)
        selection = self.ranking.selection
        self._choice = replace(self._choice, selection=selection, policy=step.value.policy)
        self.memory.card = step.value.card
        self.memory.train(step.value.way, self._choice.tiers)
        self.changed()
        return step.words

    def yaml(self) -> YamlView:
        """Return the lines of the file to save, each made when it is looked at."""
        return self.ranking.recipe.view(self.choice.policy)

    def defaults(self) -> dict[str, Any]:
        """Return what of this can be kept for other models, by setting."""
        policy, memory, metric = self.choice.policy, self.memory, self.ranking.metric.name
        return {
            "top_percent": policy.percent,
            "metric": "" if metric == self._whole.scores.metric else metric,  # "": each file's own
            "rule": policy.rule,
            "way": memory.way,
            "card": memory.typed_card,
            "output_dir": self.settings.output_dir,
        }

    def text(self) -> str:
        """Return the whole of that file; raises SelectionError where it must not be written."""
        return drafted(DEFAULT_KIND, self.choice)[0].text
