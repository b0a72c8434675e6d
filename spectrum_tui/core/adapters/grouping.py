"""One adapter for several layers, where their gradients say so."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.adapters.low_rank import grown, mean_pair
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.numbers import counted

if TYPE_CHECKING:
    import torch

    from spectrum_tui.core.training.live_adapters import LiveAdapter

LIMIT = 0.5
"""The cosine from which on two layers share an adapter: their gradients have more in common than
apart. On SmolLM2-135M and real text, the mean over 147 pairs of neighbours was 0.002, the largest
0.075."""
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """Which layers go together: every two of a group have a cosine of at least `limit`. `closest`
    are the two most similar of all `pairs` that were compared, with `largest`; `middle` is the
    median."""

    groups: tuple[tuple[str, ...], ...]
    limit: float
    pairs: int
    closest: Pair
    largest: float
    middle: float

    @property
    def text(self) -> str:
        """What was found, in a sentence."""
        if not self.pairs:
            return "no two adapters are of one type and shape: nothing is shared"
        seen = (
            f"the most similar gradients are those of {self.closest[0]} and {self.closest[1]} "
            f"(cosine {self.largest:.3f}), the median of {counted(self.pairs, 'pair')} is "
            f"{self.middle:.3f}"
        )
        if not self.groups:
            return f"{seen}: none reaches {self.limit:g}, nothing is shared"
        layers = counted(sum(map(len, self.groups)), "layer")
        groups = counted(len(self.groups), "adapter")
        return f"{layers} in {groups} from now on; {seen}"


def similar_groups(
    sketches: Mapping[str, npt.NDArray[np.float64]], kinds: Mapping[str, Hashable], limit: float
) -> Similar:
    """Cluster layers of one kind (type, shape, scale) by the cosine of their gradients.

    Complete linkage: clusters become one from the most similar pair down, where every two of their
    layers reach the limit. A layer without a gradient is in no pair.
    """
    cosines = dict(_cosines(sketches, kinds))
    cluster: dict[str, list[str]] = {}
    for (a, b), cosine in sorted(cosines.items(), key=lambda item: -item[1]):
        if cosine < limit:
            break
        one, other = cluster.setdefault(a, [a]), cluster.setdefault(b, [b])
        if one is not other and all(
            cosines.get((x, y), cosines.get((y, x), -1.0)) >= limit for x, y in product(one, other)
        ):
            one += other
            cluster.update(dict.fromkeys(other, one))
    place = {layer: i for i, layer in enumerate(sketches)}
    groups = {id(c): tuple(sorted(c, key=place.__getitem__)) for c in cluster.values()}
    found = sorted((g for g in groups.values() if len(g) > 1), key=lambda g: place[g[0]])
    closest = max(cosines, key=lambda pair: cosines[pair], default=("", ""))
    return Similar(
        groups=tuple(found),
        limit=limit,
        pairs=len(cosines),
        closest=closest,
        largest=cosines.get(closest, 0.0),
        middle=median(cosines.values()) if cosines else 0.0,
    )


def _cosines(
    sketches: Mapping[str, npt.NDArray[np.float64]], kinds: Mapping[str, Hashable]
) -> Sequence[tuple[Pair, float]]:
    units: dict[Hashable, list[tuple[str, npt.NDArray[np.float64]]]] = {}
    for layer, sketch in sketches.items():
        if length := float(np.linalg.norm(sketch)):
            units.setdefault(kinds[layer], []).append((layer, (sketch / length).ravel()))
    return [
        ((a, b), float(x @ y))
        for of_kind in units.values()
        for (a, x), (b, y) in combinations(of_kind, 2)
    ]


def tie(
    adapters: Sequence[LiveAdapter],
    optimizer: Any = None,
    *,
    gaussian: bool = False,
    generator: torch.Generator | None = None,
) -> None:
    """Give several layers one adapter: the best approximation, by the largest of their ranks, of
    the mean of what theirs have learned. From then on their gradients add up in it; the optimizer
    starts anew with it. Raises InputError for fewer than two."""
    if len(adapters) < 2:
        raise InputError("A group of one shares nothing.", "Name two layers or more.")
    first, *others = adapters
    rank = max(one.rank for one in adapters)
    scale = first.scale
    pairs = [(down, up * (one.scale / scale)) for one in adapters for down, up in [one.factors()]]
    downs, ups = mean_pair(pairs, rank)
    if downs.shape[1] < rank:
        downs, ups = grown(downs, ups, rank, gaussian=gaussian, generator=generator)
    for one in adapters:
        for parameter in (one.down, one.up):
            parameter.grad = None
            if optimizer is not None:
                optimizer.state.pop(parameter, None)
    first.fill(downs, ups)
    share(first, others)


def share(first: LiveAdapter, others: Sequence[LiveAdapter]) -> None:
    """Let layers use the factors of the first."""
    for one in others:
        one.module.lora_A[one.name] = first.module.lora_A[first.name]
        one.module.lora_B[one.name] = first.module.lora_B[first.name]
        one.say_rank(first.rank, first.scale)
