"""Single experts of a fused parameter: which are the best of each, as ranges of its rows.

A fused parameter holds one expert in each row of its first dimension, so that a range of rows is
a range of experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrum_tui.core.experts import expert_of
from spectrum_tui.core.results.results import FloatArray, Result

Ranges = tuple[tuple[int, int], ...]
"""(first, end) of neighbouring experts, the end not among them."""


@dataclass(frozen=True, eq=False)
class FusedType:
    """A layer type each of whose rows is fused of experts: {row: score of every expert}."""

    name: str
    rows: dict[int, FloatArray]

    @property
    def experts(self) -> str:
        """How many a row has: "64", or "8 to 64" where they differ."""
        counts = sorted({len(values) for values in self.rows.values()})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def fused_types(result: Result) -> list[FusedType]:
    """The types that experts can be chosen of, without their layers that have no score.

    A type with a row that is not fused, or has a parameter whose first dimension is not its
    experts, is none of them: its layers compete as wholes.
    """
    scores = result.scores
    if not scores.parts:
        return []
    sizes = {p.name: p.shape[0] for p in result.parameters if p.shape}
    rows: dict[int, dict[int, FloatArray]] = {}
    whole: set[int] = set()
    for row, type_id in enumerate(scores.type_ids.tolist()):
        if row in scores.problems:
            continue
        values = _by_expert(scores.parts.get(row, ()))
        length = {sizes.get(name, len(values)) for name in scores.parameters[row]}
        if len(values) and length == {len(values)}:
            rows.setdefault(type_id, {})[row] = values
        else:
            whole.add(type_id)
    return [FusedType(scores.type_names[t], found) for t, found in rows.items() if t not in whole]


def _by_expert(parts: tuple[tuple[str, float], ...]) -> FloatArray:
    """The score of each expert, the mean of its matrices; empty where these are not experts."""
    values: dict[int, list[float]] = {}
    for label, value in parts:
        values.setdefault(expert_of(label), []).append(value)
    if sorted(values) != list(range(len(values))):
        return np.zeros(0)
    return np.array([sum(values[e]) / len(values[e]) for e in range(len(values))])


def best(values: FloatArray, percent: int) -> Ranges:
    """The floor(n·percent/100) experts with the highest score, ties in order, as ranges.

    An expert whose score is NaN is not counted and never among them.
    """
    scored = np.flatnonzero(~np.isnan(values))
    order = scored[np.argsort(-values[scored], kind="stable")]
    return merged(sorted(order[: len(scored) * percent // 100].tolist()))


def merged(numbers: list[int]) -> Ranges:
    """Numbers in ascending order as ranges.

    >>> merged([1, 2, 3, 7])
    ((1, 4), (7, 8))
    """
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return tuple(ranges)
