"""How much of a model earlier scans have scored, by layer type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.requests import Kept, ModelSummary


def kept_scores(checkpoint: Checkpoint) -> dict[str, float]:
    """Return the matrices that earlier scans of these weights have scored, with the bound of
    each score's relative error: 0 for an exact one."""
    kept = read_journal(journal_path(checkpoint.fingerprint))
    return {name: entry.error for name, entry in kept.items()}


Measured = tuple[str, int, float, tuple[str, ...]]
"""Of a layer: its type, the bytes that are read for it, its cost, and the names of its matrices."""


def measured(layers: Iterable[Layer]) -> tuple[Measured, ...]:
    """Return the layers as far as earlier scores are counted by them."""
    return tuple(
        (one.type, 0 if one.one_dimensional else one.nbytes, float(one.cost), one.matrix_names)
        for one in layers
    )


def with_earlier(
    summary: ModelSummary, scored: Mapping[str, float], layers: Iterable[Measured]
) -> ModelSummary:
    """Return the summary with what earlier scans have `scored`, as by `kept_scores`: the layers
    whose matrices all are, and what of every layer need not be read and computed again."""
    every: Counter[str] = Counter()
    fast: Counter[str] = Counter()
    kept: dict[str, Kept] = {}
    for kind, nbytes, cost, names in layers if scored else ():
        errors = [scored[name] for name in names if name in scored]
        if not errors:
            continue
        again = sum(map(bool, errors))
        if len(errors) == len(names):
            every[kind] += 1
            fast[kind] += bool(again)
        each, work = nbytes // len(names), cost / len(names)
        before = kept.get(kind, Kept())
        kept[kind] = Kept(
            nbytes=before.nbytes + (nbytes if len(errors) == len(names) else each * len(errors)),
            cost=before.cost + work * len(errors),
            fast_nbytes=before.fast_nbytes + each * again,
            fast_cost=before.fast_cost + work * again,
        )
    return replace(summary, scored=dict(every), scored_fast=dict(+fast), kept=kept)
