"""Two results side by side: how the ranking moved, and how far two selections agree.

A model before and after fine-tuning, its base and its instruct version, two metrics or two tools:
within each type the layers in common are ranked on both sides, by the rule of the selection.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, FloatArray, Generation, IntArray, Result
from spectrum_tui.core.results.selection import Selection

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The layers in common: row `a[i]` of the one result is row `b[i]` of the other.

    `renamed` of them were found under another name.
    """

    a: IntArray
    b: IntArray
    renamed: int

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeChange:
    """One type: layers in common and in one result alone; Spearman's rho over those in common
    that have a score on both sides, NaN where that says nothing."""

    name: str
    common: int
    only_a: int
    only_b: int
    rho: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One layer's rank in both results, among the `of` layers of its type that both have scored.

    Layers with equal scores share the mean of their ranks, so that a tie is no move.
    """

    row_a: int
    row_b: int
    type: str
    rank_a: float
    rank_b: float
    of: int

    @property
    def by(self) -> float:
        """How many places it fell; negative where it rose."""
        return self.rank_b - self.rank_a


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two selections of one type: how many layers each has, and how many are in both."""

    a: int
    b: int
    shared: int

    @property
    def jaccard(self) -> float:
        """Shared over all that either has; NaN where neither has any."""
        either = self.a + self.b - self.shared
        return self.shared / either if either else math.nan

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.a + other.a, self.b + other.b, self.shared + other.shared)


class Comparison:
    """Everything that does not depend on a policy, computed once; `at` gives what does.

    `type_a` and `type_b` are the type of each row of a and b, as its place in `types`.
    """

    def __init__(self, a: Result, b: Result) -> None:
        self.a, self.b = a, b
        self.pairs = paired(a, b)
        self.selections = Selection(a), Selection(b)
        names = [*a.scores.type_names, *_types_of_others(b, self.pairs)]
        self._names = list(dict.fromkeys(names))
        index = {name: number for number, name in enumerate(self._names)}
        self.type_a = np.asarray([index[n] for n in a.scores.type_names], np.int64)[
            a.scores.type_ids
        ]
        self.type_b = self._types_of_b(index)

    def _types_of_b(self, index: dict[str, int]) -> IntArray:
        """Per row of b its type, by a's name for it where they share the layer."""
        scores = self.b.scores
        own = np.asarray([index.get(name, 0) for name in scores.type_names], np.int64)
        types = own[scores.type_ids]
        types[self.pairs.b] = self.type_a[self.pairs.a]
        return types

    @cached_property
    def types(self) -> tuple[TypeChange, ...]:
        """Every type of either, in a's order."""
        count = len(self._names)
        common = np.bincount(self.type_a[self.pairs.a], minlength=count)
        in_a = np.bincount(self.type_a, minlength=count)
        in_b = np.bincount(self.type_b, minlength=count)
        rhos = {name: spearman(x, y) for name, x, y in self._scored()}
        return tuple(
            TypeChange(
                name=name,
                common=int(common[i]),
                only_a=int(in_a[i] - common[i]),
                only_b=int(in_b[i] - common[i]),
                rho=rhos.get(name, math.nan),
            )
            for i, name in enumerate(self._names)
        )

    @cached_property
    def rho(self) -> float:
        """The mean of the types' rho, each weighted by its layers in common; NaN without any.

        Not one rho over all layers: scores of different types are not compared with each other.
        """
        known = [(kind.rho, kind.common) for kind in self.types if not math.isnan(kind.rho)]
        weight = sum(common for _, common in known)
        return sum(rho * common for rho, common in known) / weight if weight else math.nan

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """The layers that moved, the farthest first: by the share of their type's places."""
        found = [move for move in self._moves() if move.by]
        return tuple(sorted(found, key=lambda m: (-abs(m.by) / (m.of - 1), -abs(m.by), m.row_a)))

    @property
    def unranked(self) -> int:
        """How many layers in common have a score on one side only: they leave the ranking there,
        which `moves` cannot show."""
        x, y = self.a.scores.values[self.pairs.a], self.b.scores.values[self.pairs.b]
        return int((np.isnan(x) != np.isnan(y)).sum())

    def work_out(self) -> None:
        """Compute now what else waits until it is asked for: 0.6 s at 60,000 layers."""
        _ = self.types, self.moves

    def at(self, policy: Policy, other: Policy | None = None) -> tuple[Agreement, ...]:
        """Return the agreement of the selections, per type in the order of `types`; of b by the
        `other` policy where there is one.

        Each result selects among all of its own layers, as it does alone.
        """
        mask_a, mask_b = self.masks(policy, other)
        both = mask_a[self.pairs.a] & mask_b[self.pairs.b]
        count = len(self._names)
        a = np.bincount(self.type_a[mask_a], minlength=count).tolist()
        b = np.bincount(self.type_b[mask_b], minlength=count).tolist()
        shared = np.bincount(self.type_a[self.pairs.a][both], minlength=count).tolist()
        return tuple(map(Agreement, a, b, shared))

    def whole(self, policy: Policy, other: Policy | None = None) -> Agreement:
        """Return the agreement over the types that both have: a type that one never scored says
        nothing about it."""
        pairs = zip(self.types, self.at(policy, other), strict=True)
        return sum((found for kind, found in pairs if kind.common), Agreement(0, 0, 0))

    def masks(self, policy: Policy, other: Policy | None = None) -> tuple[BoolArray, BoolArray]:
        """Return the rows of each result that its policy selects."""
        return self.selections[0].mask(policy), self.selections[1].mask(other or policy)

    def _scored(self) -> Iterator[tuple[str, FloatArray, FloatArray]]:
        """(type, a's scores, b's) of the layers in common that have both."""
        for name, rows in self._rows_of_types():
            yield (
                name,
                self.a.scores.values[self.pairs.a[rows]],
                self.b.scores.values[self.pairs.b[rows]],
            )

    def _rows_of_types(self) -> Iterator[tuple[str, IntArray]]:
        """(type, positions among the pairs that are scored on both sides)."""
        x = self.a.scores.values[self.pairs.a]
        y = self.b.scores.values[self.pairs.b]
        scored = np.flatnonzero(~np.isnan(x) & ~np.isnan(y))
        types = self.type_a[self.pairs.a][scored]
        order = np.argsort(types, kind="stable")
        cuts = np.flatnonzero(np.diff(types[order])) + 1
        for rows in np.split(scored[order], cuts):
            if len(rows):
                yield self._names[int(self.type_a[self.pairs.a[rows[0]]])], rows

    def _moves(self) -> Iterator[Move]:
        for (name, rows), (_, x, y) in zip(self._rows_of_types(), self._scored(), strict=True):
            columns = self.pairs.a[rows], self.pairs.b[rows], mean_ranks(-x), mean_ranks(-y)
            for a, b, rank_a, rank_b in zip(*(c.tolist() for c in columns), strict=True):
                yield Move(row_a=a, row_b=b, type=name, rank_a=rank_a, rank_b=rank_b, of=len(rows))


def compare(a: Result, b: Result, metric: str = "") -> Comparison:
    """Compare two results by a metric, or by the one that the first ranks by.

    Raises ResultsError where one of them lacks it, or where they share no layer.
    """
    metric = metric or a.scores.metric
    found = Comparison(a.with_metric(metric), b.with_metric(metric))
    if not len(found.pairs):
        raise ResultsError(
            "The two results have no layer in common.",
            "Compare scans of models of one architecture.",
        )
    return found


def paired(a: Result, b: Result) -> Pairs:
    """Return the layers in common: by name, and where one has none of that name, by type and place.

    Generations of transformers differ in what stands before a block's number, which leaves the
    type and the numbers as they are: `language_model.model.layers.3.mlp.down_proj` is
    `model.language_model.layers.3.mlp.down_proj`. Only what is unambiguous on both sides counts.
    """
    rows_b = {name: row for row, name in enumerate(b.scores.layers)}
    exact = {i: rows_b[n] for i, n in enumerate(a.scores.layers) if n in rows_b}
    taken = set(exact.values())
    left_a = _by_place(a, (i for i in range(len(a.scores)) if i not in exact))
    left_b = _by_place(b, (i for i in range(len(b.scores)) if i not in taken))
    renamed = {left_a[key]: left_b[key] for key in left_a if key in left_b}
    matched = sorted((exact | renamed).items())
    columns = np.asarray(matched, np.int64).reshape(-1, 2)
    return Pairs(columns[:, 0], columns[:, 1], len(renamed))


def _by_place(result: Result, rows: Iterable[int]) -> dict[tuple[str, ...], int]:
    """{(type, numbers in the name): row}, without those that several rows have."""
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        name = result.scores.layers[row]
        found.setdefault((layer_type(name), *_NUMBER.findall(name)), []).append(row)
    return {key: rows[0] for key, rows in found.items() if len(rows) == 1}


def _types_of_others(b: Result, pairs: Pairs) -> list[str]:
    """Return the types of b's layers that a does not have."""
    own = np.ones(len(b.scores), np.bool_)
    own[pairs.b] = False
    names = b.scores.type_names
    return [names[i] for i in dict.fromkeys(b.scores.type_ids[own].tolist())]


def spearman(x: FloatArray, y: FloatArray) -> float:
    """Spearman's rho: Pearson's correlation of the ranks, equal values having the mean of theirs.

    In [-1, 1]; infinite values are the highest, and equal. NaN for fewer than two values, and
    where all of one side are equal, so that there is no order to agree with. Raises nothing.
    """
    if len(x) < 2:
        return math.nan
    u, v = mean_ranks(x), mean_ranks(y)
    u, v = u - u.mean(), v - v.mean()
    scale = float(np.sqrt((u @ u) * (v @ v)))
    return max(-1.0, min(1.0, float(u @ v) / scale)) if scale else math.nan


def mean_ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1, lowest first; equal values have the mean of the ranks that they take up.

    >>> mean_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: FloatArray = (last - (counts - 1) / 2.0)[group]
    return ranks


# -- in words: what the command prints and the screen shows alike ------------------------------


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader must know to interpret the comparison."""
    found = []
    if renamed := comparison.pairs.renamed:
        layers = counted(renamed, "layer has", "layers have")
        found.append(f"{layers} a different name in B: matched by type and number.")
    if unranked := comparison.unranked:
        layers = counted(unranked, "layer has", "layers have")
        found.append(f"{layers} a score in one file only, so no rank change.")
    made = {result.provenance.generation for result in (comparison.a, comparison.b)}
    if len(made) > 1 and Generation.BEFORE_2025_04 in made:
        found.append("One file is from before April 2025: a layer without noise is Infinity there.")
    return found


def file_names(comparison: Comparison) -> tuple[str, str]:
    """Return the names of the two files, with as many folders as tell them apart; "" without a
    file."""
    sources = (comparison.a.source, comparison.b.source)
    a, b = (Path(source).parts for source in sources)
    apart = (n for n in range(1, max(len(a), len(b)) + 1) if a[-n:] != b[-n:])
    n = next(apart, 1)
    first, second = (str(Path(*parts[-n:])) if parts else "" for parts in (a, b))
    return first, second


def rho_text(rho: float) -> str:
    """`0.912`, `-0.050`, a dash where there is none."""
    return "–" if math.isnan(rho) else f"{rho:.3f}"


def share_text(share: float) -> str:
    """Return a whole percentage, `62 %`; a dash where there is none."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def rank_text(rank: float) -> str:
    """`3`, or `3.5` for layers that share two places."""
    return f"{rank:.0f}" if rank == int(rank) else f"{rank:.1f}"


def change_text(before: bool, after: bool) -> str:
    """Return how a layer's selection changes from A to B."""
    if before == after:
        return "stays" if after else ""
    return "enters" if after else "leaves"
