"""How much of a model earlier scans have scored, by layer type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.naming.layers import Layer


def kept_scores(checkpoint: Checkpoint) -> dict[str, float]:
    """Return the matrices that earlier scans of these weights have scored, with the bound of
    each score's relative error: 0 for an exact one."""
    kept = read_journal(journal_path(checkpoint.fingerprint))
    return {name: entry.error for name, entry in kept.items()}


def scored_layers(
    scored: Mapping[str, float], layers: Iterable[Layer]
) -> tuple[dict[str, int], dict[str, int]]:
    """Count the layers whose matrices are all scored, and those of them not exactly, by type."""
    return count_scored(scored, ((layer.type, layer.matrix_names) for layer in layers))


def count_scored(
    scored: Mapping[str, float], layers: Iterable[tuple[str, Sequence[str]]]
) -> tuple[dict[str, int], dict[str, int]]:
    """`scored_layers`, of layers given as their type and the names of their matrices."""
    every: Counter[str] = Counter()
    fast: Counter[str] = Counter()
    for kind, names in layers if scored else ():
        if all(name in scored for name in names):
            every[kind] += 1
            fast[kind] += any(scored[name] for name in names)
    return dict(every), dict(+fast)
