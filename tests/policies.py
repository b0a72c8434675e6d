"""What a policy selects, by its rules typed again over names: the tests' own judge."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from fractions import Fraction

from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result


def matched(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in wanted)


def best(values: Mapping[str, Fraction | float], percent: float) -> set[str]:
    """The floor(n·P/100) names with the highest value, ties as they come."""
    scored = sorted((n for n in values if not math.isnan(values[n])), key=lambda n: -values[n])
    return set(scored[: math.floor(len(values) * Fraction(round(percent * 10), 1000))])


def shares(result: Result) -> dict[str, Fraction | float]:
    """Minus the share of its type that ranks up to each layer: higher is better."""
    found: dict[str, Fraction | float] = {}
    for names in by_type(result).values():
        scored = sorted((n for n in names if not math.isnan(names[n])), key=lambda n: -names[n])
        found |= {name: -Fraction(i + 1, len(names)) for i, name in enumerate(scored)}
    every = (n for names in by_type(result).values() for n in names)
    return {name: found.get(name, math.nan) for name in every}


def by_type(result: Result) -> dict[str, dict[str, float]]:
    scores = result.scores
    types: dict[str, dict[str, float]] = {}
    for name, kind, value in zip(scores.layers, scores.type_ids, scores.values, strict=True):
        types.setdefault(scores.type_names[kind], {})[name] = float(value)
    return types


def expected(result: Result, policy: Policy) -> set[str]:
    """The layers that a policy selects, by its rules typed again."""
    types = by_type(result)
    if policy.rule == "per-type":
        chosen = {n for names in types.values() for n in best(names, policy.percent)}
    elif policy.rule == "global":
        chosen = best({n: v for names in types.values() for n, v in names.items()}, policy.percent)
    elif policy.rule == "global-rank":
        chosen = best(shares(result), policy.percent)
    else:
        raise NotImplementedError(policy.rule)
    for kind, names in types.items():
        own = [p for pattern, p in policy.type_percents if fnmatchcase(kind, pattern)]
        if own:
            chosen = chosen - names.keys() | best(names, own[-1])
    every = result.scores.layers
    numbers = {name: re.findall(r"\.(\d+)(?=\.)", name) for name in every}
    block = {name: int(found[0]) if found else -1 for name, found in numbers.items()}
    if policy.blocks:
        inside = (
            name
            for name in every
            if block[name] < 0
            or any(a <= block[name] and (b is None or block[name] <= b) for a, b in policy.blocks)
        )
        chosen &= set(inside)
    chosen |= {name for name in every if matched(name, policy.pins)}
    return {name for name in chosen if not matched(name, policy.bans)}
