"""Which block of the model a layer lies in, by its name."""

from __future__ import annotations

import re

import numpy as np

from spectrum_tui.core.layer_types import ANY_NUMBER
from spectrum_tui.core.results.results import IntArray, Scores

_FIRST_NUMBER = re.compile(r"(?:^|\.)(\d{1,6})(?=\.|$)")
_LAST_NUMBER = re.compile(r"(?:^|\.)(\d{1,6})$")


def numbers_and_prefixes(scores: Scores) -> tuple[IntArray, IntArray, list[str]]:
    """Return the number of the block of every layer (-1 without one), and what stands before it.

    It is the number above the type (`model.layers.7`), else the first that the type leaves open
    (`layers.2.blocks.*`), else the first of all. Paths share their heads, so that each is
    searched only once.
    """
    prefixes: dict[str, int] = {}
    known: dict[str, tuple[int, int]] = {}
    found = []
    kinds = [name.rpartition(":")[2] for name in scores.type_names]
    tails = [f".{name}" for name in kinds]
    for layer, kind in zip(scores.layers, scores.type_ids.tolist(), strict=True):
        head = layer.removesuffix(tails[kind])
        if ANY_NUMBER in kinds[kind]:
            head = _head(layer, kinds[kind])
        if head not in known:
            number, prefix = _number_and_prefix(head)
            known[head] = number, prefixes.setdefault(prefix, len(prefixes))
        found.append(known[head])
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1], list(prefixes)


def _head(layer: str, kind: str) -> str:
    """Return a layer's path up to the number of its block, for a type with indices left open."""
    pattern, parts = kind.split("."), layer.split(".")
    above = len(parts) - len(pattern)
    if above > 0 and parts[above - 1].isdigit():
        return ".".join(parts[:above])
    return (
        ".".join(parts[: max(above, 0) + pattern.index(ANY_NUMBER) + 1])
        if ANY_NUMBER in pattern
        else layer
    )


def _number_and_prefix(head: str) -> tuple[int, str]:
    match = _LAST_NUMBER.search(head) or _FIRST_NUMBER.search(head)
    return (int(match[1]), head[: match.start()]) if match else (-1, "")
