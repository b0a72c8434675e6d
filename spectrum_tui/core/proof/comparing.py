"""Which methods are held against each other, and how likely their differences are by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spectrum_tui.core.proof.methods import SELECTIONS, Method, parse_method
from spectrum_tui.core.proof.proof import Comparison
from spectrum_tui.core.proof.statistics import LEVEL, holm, least_t, paired
from spectrum_tui.core.proof.summary import Summary

HELD_OUT, KEPT = "held_out", "kept"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two methods to compare; `one` is the best of so many, by the very losses compared."""

    one: Summary
    other: Summary
    best_of: int = 1


def pairs(found: Sequence[Summary]) -> list[Pair]:
    """Return what is compared: each selection with the random one of its percentage (a policy with
    that of nearly its size), the best layers with the worst, and the best method with training
    everything."""
    methods = {one.method: parse_method(one.method) for one in found}
    trained = [one for one in found if one.held_out]
    by_chance = [one for one in trained if methods[one.method].is_random]
    result = []
    for one in trained:
        other = _random_for(one, methods, by_chance)
        if other is not None:
            result.append(Pair(one, other))
    for one in trained:
        low = replace(methods[one.method], kind="bottom")
        result += [
            Pair(one, other)
            for other in trained
            if methods[one.method].kind == "top" and methods[other.method] == low
        ]
    full = [one for one in trained if methods[one.method].kind == "full"]
    others = [one for one in trained if one not in full]
    if full and others:
        best = min(others, key=lambda one: one.loss.mean)
        result.append(Pair(best, full[0], len(others)))
    return result


def _random_for(
    one: Summary, methods: Mapping[str, Method], by_chance: Sequence[Summary]
) -> Summary | None:
    method = methods[one.method]
    if method.percent and method.kind in SELECTIONS and not method.is_random:
        same = [other for other in by_chance if methods[other.method].percent == method.percent]
        return same[0] if same else None
    if method.kind == "policy":
        return min(by_chance, key=lambda other: abs(other.trained - one.trained), default=None)
    return None


def compared(found: Sequence[Pair]) -> tuple[Comparison, ...]:
    """Return the comparisons of all pairs on both texts, corrected for their number; none where
    no two seeds differ."""
    texts = [
        (pair, text, mine, other)
        for pair in found
        for text, mine, other in (
            (HELD_OUT, pair.one.held_out, pair.other.held_out),
            (KEPT, pair.one.kept, pair.other.kept),
        )
        if len(mine.keys() & other.keys()) > 1
    ]
    plain = [_comparison(*each) for each in texts]
    adjusted = holm([one.p for one in plain])
    return tuple(
        replace(one, adjusted=p, least=_least(one, len(plain) * pair.best_of))
        for one, p, (pair, *_) in zip(plain, adjusted, texts, strict=True)
    )


def _comparison(
    pair: Pair, text: str, mine: Mapping[int, float], other: Mapping[int, float]
) -> Comparison:
    found, p = paired(mine, other)
    return Comparison(
        one=pair.one.method,
        other=pair.other.method,
        text=text,
        seeds=found.count,
        difference=found.mean,
        spread=found.spread,
        p=min(1.0, p * pair.best_of),
    )


def _least(one: Comparison, times: int) -> float:
    """Return the smallest difference that is found at this spread, among so many comparisons."""
    return least_t(LEVEL / times, one.seeds - 1) * one.spread / math.sqrt(one.seeds)
