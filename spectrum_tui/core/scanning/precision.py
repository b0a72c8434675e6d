"""Which scores are too close to call: the `fast` precision computes those again in float64."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval that certainly contains a score; `exact` scores cannot be refined further."""

    low: float
    high: float
    exact: bool = False


def undecided(group: Sequence[Interval]) -> list[int]:
    """Return the positions of scores whose rank in the group could be another in float64.

    A score is decided when its interval meets no other. Scoring the undecided ones exactly
    decides all of them, since an exact score lies in its former interval.
    """
    ordered = sorted(range(len(group)), key=lambda i: group[i].low)
    found: set[int] = set()
    reach = float("-inf")  # of all before
    for place, i in enumerate(ordered):
        following = ordered[place + 1] if place + 1 < len(ordered) else None
        meets_next = following is not None and group[following].low <= group[i].high
        if meets_next or reach >= group[i].low:
            found.add(i)
        reach = max(reach, group[i].high)
    return sorted(i for i in found if not group[i].exact)


def undecided_in_groups(items: Iterable[tuple[Hashable, Interval]]) -> list[int]:
    """Return the same over items of several groups: (group, interval); positions in `items`."""
    groups: dict[Hashable, list[tuple[int, Interval]]] = {}
    for position, (group, interval) in enumerate(items):
        groups.setdefault(group, []).append((position, interval))
    return sorted(
        members[i][0]
        for members in groups.values()
        for i in undecided([interval for _, interval in members])
    )
