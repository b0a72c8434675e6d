"""Which layers a policy selects: pure, and fast enough to follow a slider.

The reference tool's rule, "per-type": of the n layers of a type, the floor(n·P/100) with the
highest score, ties in file order. "global" takes the floor(N·P/100) with the highest score of all
N layers, "global-rank" those with the smallest share rank/n; ties again in file order. A layer
without a score (NaN) is never selected by a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.errors import InputError, SelectionError
from spectrum_tui.core.layer_types import Group, group_of
from spectrum_tui.core.policy_values import RULES, Blocks, blocks_text
from spectrum_tui.core.results.names import Names, unmatched
from spectrum_tui.core.results.policy import STEPS_OF_A_PERCENT, Policy
from spectrum_tui.core.results.results import (
    BoolArray,
    EmbeddingParameter,
    FloatArray,
    IntArray,
    Result,
    Scores,
)
from spectrum_tui.core.settings import DATA_METRICS

LAST = 100 * STEPS_OF_A_PERCENT
"""The step of the grid that is 100 %."""
NEVER = LAST + 1
"""Threshold of a layer that no percentage selects."""
ALWAYS = 0
"""Threshold of a layer that every percentage selects."""
_KEPT = 8
"""Shapes that are remembered, so that undoing and redoing costs nothing."""
COMPARABLE = ("calibrated", *DATA_METRICS)
"""The metrics whose values mean the same for every shape: shares and means, whatever the size of a
matrix."""


class Hand(IntEnum):
    """What a person said of a layer, which goes before every rule."""

    NONE = 0
    PINNED = 1
    BANNED = 2
    OUTSIDE = 3
    """In no block that may train."""


HandArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a policy means. `parameters` that train, embeddings and heads included;
    `share` of the model's parameters, 0 where sizes are unknown."""

    layers: int
    parameters: int
    share: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape:
    """What of a policy does not depend on the percentage.

    `threshold[i]` is the smallest step (a tenth of a percent) that selects layer i, ALWAYS or
    NEVER. `heads` are the embeddings and heads that train, `frozen` the rows that are none of these
    but embeddings or a head all the same. `layers` and `parameters` train at every step.
    """

    threshold: IntArray
    heads: tuple[EmbeddingParameter, ...]
    frozen: BoolArray
    layers: IntArray
    parameters: IntArray


class Selection:
    """Everything that depends on the scores but not on the policy, computed once; and what a
    policy selects.

    `rank[i]` counts from 1 within the layer's type, 0 for a layer without a score; `counts[t]` is
    n of type t. `in_embeddings` marks the layers that are embeddings or heads, which train while
    those are on, whatever their rank. A step of the percentage is one comparison (0.01 ms for
    50,000 layers, where sorting again takes 65 ms).
    """

    def __init__(self, result: Result, same_layers: Selection | None = None) -> None:
        """`same_layers` is one of the same layers by another metric: what only depends on their
        names is taken from it, half of the work."""
        scores = result.scores
        self.result = result
        self.counts = layers_per_type(scores)
        self.rank = ranks(scores)
        self._names: Names = same_layers._names if same_layers else Names(result)
        self.in_embeddings: BoolArray = self._names.in_embeddings
        self._matrix_counts = self.counts[
            _of_matrices(scores, ~self.in_embeddings) & (self.counts > 0)
        ]
        self._shaped = lru_cache(maxsize=_KEPT)(self._make_shape)
        self._by_hand = lru_cache(maxsize=_KEPT)(self._make_by_hand)

    def shape(self, policy: Policy) -> Shape:
        """Return what of a policy does not depend on the percentage; raises InputError for a rule
        that these scores do not allow."""
        return self._shaped(replace(policy, percent=0))

    def mask(self, policy: Policy) -> BoolArray:
        """Return the layers that the policy selects, less the embeddings and heads that do not
        train. Those that do, train besides, whatever their rank: see `trained`."""
        shape = self.shape(policy)
        return np.asarray((shape.threshold <= policy.step) & ~shape.frozen)

    def trained(self, policy: Policy) -> BoolArray:
        """Return the layers that train: those selected, and the embeddings and heads that do."""
        return self.mask(policy) | self.head_rows(policy)

    def head_rows(self, policy: Policy) -> BoolArray:
        """Return the layers that are embeddings or heads that train, whatever their rank."""
        return np.asarray(self.in_embeddings & ~self.shape(policy).frozen)

    def heads(self, policy: Policy) -> tuple[EmbeddingParameter, ...]:
        """Return the embeddings and heads that train."""
        return self.shape(policy).heads

    def totals(self, policy: Policy) -> Totals:
        """Layers that are selected and train, and all parameters that train."""
        shape, step = self.shape(policy), policy.step
        trained = int(shape.parameters[step])
        whole = self.result.total_parameters
        layers = int(shape.layers[step])
        return Totals(layers, trained, trained / whole if whole else 0.0)

    def smallest_percent(self, policy: Policy) -> float:
        """Return the smallest percentage, in tenths, that selects any layer; NEVER where none
        does."""
        least = int(self.shape(policy).threshold.min(initial=NEVER))
        return NEVER if least == NEVER else max(1, least) / STEPS_OF_A_PERCENT

    def selects_any(self, policy: Policy) -> bool:
        """Return whether any layer is selected, embeddings and heads left aside."""
        return bool((self.shape(policy).threshold <= policy.step).any())

    def percent_of(self, type_name: str, policy: Policy) -> float:
        """Return the percentage of a type: its own, or that of all."""
        return float(self.percents(policy)[self.result.scores.type_names.index(type_name)])

    def percents(self, policy: Policy) -> FloatArray:
        """Return per type its percentage: its own, or that of all. Where these are chosen together
        it is the one that selects as many of the type."""
        own = self.own_percents(policy)
        common = policy.percent if policy.is_per_type else self._percents_by_rule(policy)
        return np.where(np.isnan(own), common, own)

    def _percents_by_rule(self, policy: Policy) -> FloatArray:
        chosen = self._by_rule(policy) <= policy.step
        taken = np.bincount(self.result.scores.type_ids[chosen], minlength=len(self.counts))
        steps = np.where(taken > 0, thresholds(taken, self.counts), 0)
        return np.array(list(map(percent_of_step, steps.tolist(), self.counts.tolist())), float)

    def own_percents(self, policy: Policy) -> FloatArray:
        """Return per type the percentage that a policy gives to it alone; NaN without one."""
        own = np.full(len(self.counts), np.nan)
        for pattern, percent in policy.type_percents:
            own[self._names.types(pattern)] = percent
        return own

    def too_small(self, policy: Policy) -> str:
        """Return which types have so few layers that a percentage selects none of them, in words;
        "" where there is none. Norms, embeddings and heads are not counted, nor anything where
        nothing at all is selected, or where a type may have a percentage of its own."""
        if not policy.is_per_type or policy.type_percents or not self.selects_any(policy):
            return ""
        small = self._matrix_counts[self._matrix_counts * policy.step < LAST]
        if not len(small):
            return ""
        least, most = int(small.min()), int(small.max())
        types = f"{len(small):,} types have" if len(small) > 1 else "1 type has"
        upto = "at most " if least < most else ""
        layers = "one layer" if most == 1 else f"{upto}{most} layers"
        return f"{types} {layers}: none below {-(-100 // most)} %"

    def unknown(self, policy: Policy) -> list[str]:
        """Return the patterns of a policy that match nothing here."""
        scores = self.result.scores
        return unmatched(policy, scores.layers, scores.type_names, self.result.embeddings)

    # -- thresholds ----------------------------------------------------------------------------

    def _make_shape(self, policy: Policy) -> Shape:
        threshold, names = self._by_rule(policy), self._names
        own = self.own_percents(policy)[self.result.scores.type_ids]
        rows = ~np.isnan(own)
        chosen = self.percent_thresholds[rows] <= np.rint(own[rows] * STEPS_OF_A_PERCENT)
        threshold[rows] = np.where(chosen, ALWAYS, NEVER)
        by_hand = self.by_hand(policy)
        threshold[by_hand == Hand.PINNED] = ALWAYS
        threshold[(by_hand == Hand.BANNED) | (by_hand == Hand.OUTSIDE)] = NEVER
        heads = names.heads(policy)
        frozen = names.frozen_rows(heads)
        limit = np.where(frozen, NEVER, threshold)
        numel = self.result.scores.numel - names.numel_in_embeddings
        return Shape(
            threshold=threshold,
            heads=heads,
            frozen=frozen,
            layers=running_sums(limit),
            parameters=running_sums(limit, numel) + sum(head.numel for head in heads),
        )

    def prepare(self) -> None:
        """Look at every name now, which the first change by hand would wait for: 0.2 s at
        60,000."""
        _ = self._names.index, self._names.blocks

    @property
    def rows_by_name(self) -> dict[str, int]:
        """The row of each layer."""
        return self._names.index

    @property
    def last_block(self) -> int:
        """The highest number of a block; 0 without any."""
        return max(0, int(self._names.blocks.max(initial=0)))

    def check_blocks(self, policy: Policy) -> None:
        """Raise SelectionError for blocks of which these layers are in none; those that lie in no
        block at all train whatever the blocks are."""
        numbers = self._names.blocks[self._names.blocks >= 0]
        if policy.blocks and len(numbers) and not _inside(numbers, policy.blocks).any():
            low, high = int(numbers.min()), int(numbers.max())
            there = f"blocks {low}-{high}" if low < high else f"block {low} alone"
            raise SelectionError(
                f"The model has {there}: {blocks_text(policy.blocks)} holds none.",
                "Give blocks that there are.",
                field="blocks",
            )

    @property
    def has_depth(self) -> bool:
        """Whether types have layers in several blocks, so that scores can be seen over depth."""
        in_blocks = int((self._names.blocks >= 0).sum())
        return 2 * in_blocks > len(self.rank) and in_blocks >= 2 * len(self.counts)

    def by_hand(self, policy: Policy) -> HandArray:
        """Return per layer what a person said of it: a `Hand`."""
        return self._by_hand(policy.blocks, policy.pins, policy.bans)

    def _make_by_hand(
        self, blocks: Blocks, pins: tuple[str, ...], bans: tuple[str, ...]
    ) -> HandArray:
        chosen: HandArray = np.full(len(self.rank), Hand.NONE, np.uint8)
        names = self._names
        if blocks:
            chosen[~_inside(names.blocks, blocks)] = Hand.OUTSIDE
        chosen[names.rows(pins)] = Hand.PINNED
        chosen[names.rows(bans)] = Hand.BANNED
        return chosen

    @cached_property
    def percent_thresholds(self) -> IntArray:
        """Return per layer the smallest step with rank <= floor(n·P/100), which is
        ceil(1000·rank/n); NEVER without a rank."""
        return thresholds(self.rank, self.counts[self.result.scores.type_ids])

    def _by_rule(self, policy: Policy) -> IntArray:
        if policy.budget is not None:
            assert policy.layers is not None, "a budget is filled before it selects"
            threshold = np.full(len(self.rank), NEVER, np.int64)
            threshold[self.by_share[: policy.layers]] = ALWAYS
            return threshold
        check_rule(policy.rule, self.result.scores.metric)
        match policy.rule:
            case "per-type":
                return self.percent_thresholds.copy()
            case "global":
                order = self._by_score()
            case "global-rank":
                order = self.by_share
            case _:
                raise NotImplementedError(policy.rule)
        place = np.zeros(len(self.rank), np.int64)
        place[order] = np.arange(1, len(order) + 1)
        return thresholds(place, np.full(len(place), self.counts.sum()))

    @cached_property
    def by_share(self) -> IntArray:
        """Return the ranked layers by the share rank/n of their type, smallest first; ties in file
        order."""
        n = self.counts[self.result.scores.type_ids]
        ranked = np.flatnonzero((self.rank > 0) & (self.rank <= n))
        return ranked[np.argsort(self.rank[ranked] / n[ranked], kind="stable")]

    def _by_score(self) -> IntArray:
        scores = self.result.scores
        ranked = np.flatnonzero(self.rank > 0)
        return ranked[np.argsort(-scores.values[ranked], kind="stable")]


def _of_matrices(scores: Scores, rows: BoolArray) -> BoolArray:
    """Per type, whether any of these rows is of it, and it is none of norms."""
    found = np.bincount(scores.type_ids[rows], minlength=len(scores.type_names)) > 0
    norms = (group_of(name) is Group.NORMS for name in scores.type_names)
    return np.asarray(found & ~np.fromiter(norms, np.bool_, len(found)))


def layers_per_type(scores: Scores) -> IntArray:
    """n of every type: its layers, less those that this program failed to score."""
    counts = np.bincount(scores.type_ids, minlength=len(scores.type_names))
    if scores.problems:
        failed = np.fromiter(scores.problems, dtype=np.int64)
        counts -= np.bincount(scores.type_ids[failed], minlength=len(scores.type_names))
    return counts.astype(np.int64)


def ranks(scores: Scores) -> IntArray:
    """Rank of each layer within its type from 1, highest score first; 0 where it is NaN."""
    n = len(scores)
    scored = ~np.isnan(scores.values)
    key = np.where(scored, -scores.values, np.inf)
    order = np.lexsort((np.arange(n), ~scored, key, scores.type_ids))
    sizes = np.bincount(scores.type_ids, minlength=len(scores.type_names))
    first = np.concatenate(([0], np.cumsum(sizes)[:-1])) if len(sizes) else np.zeros(0, np.int64)
    rank = np.zeros(n, np.int64)
    rank[order] = np.arange(n) - first[scores.type_ids[order]] + 1
    rank[~scored] = 0
    return rank


def percent_of_step(step: int, layers: int) -> float:
    """Return a percentage that selects as many layers as a step: a whole one for a type of at most
    100 layers, of which tenths select no other numbers."""
    return step / STEPS_OF_A_PERCENT if layers > 100 else -(-step // STEPS_OF_A_PERCENT)


def _inside(numbers: IntArray, blocks: Blocks) -> BoolArray:
    """Return which rows lie in one of these blocks, or in none at all (-1)."""
    inside = numbers < 0
    for first, last in blocks:
        inside |= (numbers >= first) & (True if last is None else numbers <= last)
    return inside


def running_sums(limit: IntArray, weights: IntArray | None = None) -> IntArray:
    """Return the sum of the weights (1 each without any) of what every step 0..LAST selects."""
    sums = np.bincount(limit, weights=weights, minlength=NEVER + 1).cumsum()
    return np.asarray(sums[: LAST + 1].astype(np.int64))


def thresholds(rank: IntArray, n: IntArray) -> IntArray:
    """Return the smallest step with rank <= floor(n·step/LAST), which is ceil(LAST·rank/n); NEVER
    without a rank."""
    steps = -(-LAST * rank // np.maximum(n, 1))
    steps[(rank == 0) | (rank > n)] = NEVER
    return steps


def slots(percent: npt.ArrayLike, layers: npt.ArrayLike) -> IntArray:
    """Return how many of so many layers a percentage selects: floor(n·P/100)."""
    steps = np.rint(np.asarray(percent, np.float64) * STEPS_OF_A_PERCENT).astype(np.int64)
    return np.asarray(np.asarray(layers, np.int64) * steps // LAST)


def check_rule(rule: str, metric: str) -> None:
    """Raise InputError for a rule that compares what the metric does not make comparable."""
    if RULES[rule].compares and metric not in COMPARABLE:
        raise InputError(
            f"The rule {rule} compares layers of different types, and {metric} does not: it "
            "depends on the shape of a matrix.",
            f"Rank by {COMPARABLE[0]} (--metric {COMPARABLE[0]}), or take --rule global-rank.",
            field="rule",
        )
