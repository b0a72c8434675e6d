"""Whether a ranking was no ranking: layers in file order in every type.

A scan whose scores are all NaN or all alike sorts to the order in which layers stand in the
model, so that its best half is the first half, in every type. A scan that lost its scores part of
the way (weights that did not fit into memory) sorts the rest so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import comb, factorial

from spectrum_tui.core.audit.findings import Finding, Severity
from spectrum_tui.core.numbers import counted

_LAYER = re.compile(r"(.*?)\.(\d+)\.(.+)", re.DOTALL)
CHANCE = 1e-6
"""How unlikely an order must be by chance to be told."""


def picks_of(names: Iterable[str]) -> dict[str, list[int]]:
    """{type: the numbers of its layers in the order of the recipe}, each layer once."""
    picks: dict[str, dict[int, None]] = {}
    for name in names:
        found = _LAYER.fullmatch(name)
        if found and not found[3].endswith((".bias", "_bias")):
            kind = f"{found[1]}.*.{found[3].removesuffix('.weight')}"
            picks.setdefault(kind, {})[int(found[2])] = None
    return {kind: list(numbers) for kind, numbers in picks.items()}


def order_findings(names: Sequence[str], sizes: Mapping[str, int], line: int = 0) -> list[Finding]:
    """Return what the order of the plain names shows; `sizes` is the number of layers of each type
    in the model, empty if unknown."""
    picks = {kind: numbers for kind, numbers in picks_of(names).items() if len(numbers) > 1}
    partly = {kind: n for kind, n in picks.items() if len(n) < sizes.get(kind, len(n) + 1)}
    if not partly or not all(_are_first(numbers) for numbers in partly.values()):
        return []
    if min(_chance_of_order(partly), _chance_of_set(partly, sizes)) > CHANCE:
        return []
    layers = max(map(len, partly.values()))
    return [
        Finding(
            severity=Severity.ERROR,
            code="file-order",
            line=line,
            message=f"{counted(len(partly), 'type takes', 'types take')} the first layers of the "
            f"model (0 to {layers - 1}) rather than the best: a scan whose scores were NaN or "
            "all equal sorts this way.",
            hint="Scan the model again.",
            count=sum(map(len, partly.values())),
        )
    ]


def _are_first(numbers: Sequence[int]) -> bool:
    return sorted(numbers) == list(range(len(numbers)))


def _chance_of_order(picks: Mapping[str, Sequence[int]]) -> float:
    """Return the chance that so many numbers end in ascending order if their order is random."""
    chance = 1.0
    for numbers in picks.values():
        run = 1
        while run < len(numbers) and numbers[-run - 1] + 1 == numbers[-run]:
            run += 1
        # Of the k! orders, those that end in this run: k - run + 1 places it can begin at.
        chance *= (len(numbers) - run + 1) * factorial(len(numbers) - run) / factorial(len(numbers))
    return chance


def _chance_of_set(picks: Mapping[str, Sequence[int]], sizes: Mapping[str, int]) -> float:
    """Return the chance that the first layers are the best in every type, as far as sizes are
    known."""
    chance = 1.0
    for kind, numbers in picks.items():
        size = sizes.get(kind, 0)
        if size > len(numbers):
            chance /= comb(size, len(numbers))
    return chance
