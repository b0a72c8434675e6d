"""What an adapter has learned: how much of its ranks it uses, and what its updates weigh.

Of an update Δ = s·B·A with singular values σ, of the larger first:

- stable rank: Σσ² / σ₁² (Rudelson and Vershynin, 2007, doi:10.1145/1255443.1255449);
- effective rank: exp(-Σ p ln p) with p = σ/Σσ (Roy and Vetterli, EUSIPCO 2007);
- suggested rank: the smallest r whose first r singular values hold 99 % of Σσ², so that the best
  approximation of that rank is 10 % of ‖Δ‖ away from Δ at the most.

What an update weighs is ‖Δ‖ in the Frobenius norm, and as a share ‖Δ‖ / ‖W‖ of its weight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrum_tui.core.adapters.arithmetic import Factors, experts_of
from spectrum_tui.core.adapters.configuration import AdapterConfig
from spectrum_tui.core.adapters.folder import Adapter, LowRank
from spectrum_tui.core.adapters.low_rank import singular_values_of
from spectrum_tui.core.adapters.targets import Kind, Names, Update
from spectrum_tui.core.errors import AdapterError
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.naming.parameters import ParameterPlan
from spectrum_tui.core.training.live_adapters import alpha_of

if TYPE_CHECKING:
    import torch

KEPT = 0.99
"""Of the squared singular values, what a suggested rank holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """One adapter: its `rank` as given, and what its update has of it.

    Of fused experts `stable` and `effective` are means over the experts, `suggested` is the
    largest: they have one rank for all. `weight` is ‖W‖, None where the base is not at hand;
    `parameters` are those of one rank.
    """

    layer: str
    key: str
    type: str
    rank: int
    scale: float
    parameters: int
    stable: float
    effective: float
    suggested: int
    norm: float
    weight: float | None = None
    experts: int = 0

    @property
    def idle(self) -> bool:
        """Whether its update is zero."""
        return self.norm == 0

    @property
    def share(self) -> float:
        """‖Δ‖ / ‖W‖; NaN where that is not known."""
        return self.norm / self.weight if self.weight else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeUse:
    """The adapters of one layer type: means, and the largest suggested rank."""

    type: str
    layers: int
    ranks: tuple[int, int]
    stable: float
    effective: float
    suggested: int
    norm: float
    share: float
    idle: int


def uses(updates: Iterable[Update], plan: ParameterPlan | None) -> Iterator[LayerUse]:
    """Yield the use of each adapter, by the weights of the base where a plan of it is given."""
    names = None if plan is None else Names(plan)
    for update in updates:
        values = list(_singular_values(update))
        squares = sum(float(one.square().sum()) for one in values)
        yield LayerUse(
            layer=update.name.removesuffix(".weight"),
            key=update.key,
            type=layer_type(update.name.removesuffix(".weight")),
            rank=update.rank,
            scale=update.scale,
            parameters=_of_one_rank(update),
            stable=_mean([stable_rank(one) for one in values]),
            effective=_mean([effective_rank(one) for one in values]),
            suggested=max(suggested_rank(one) for one in values),
            norm=abs(update.scale) * math.sqrt(squares),
            weight=None if names is None else _weight_norm(names, update.name),
            experts=update.experts,
        )


def _singular_values(update: Update) -> Iterator[torch.Tensor]:
    """Yield those of B·A, of each expert; a convolution counts as outputs x everything else."""
    import torch

    factors = Factors(update, torch.float32)
    if not bool(factors.down.isfinite().all() and factors.up.isfinite().all()):
        raise AdapterError(
            f"The adapter of {update.pair.module} has NaN or infinite values.",
            "The training diverged: take an earlier checkpoint.",
        )
    if update.experts:
        pairs = experts_of(factors, update.experts)
    else:
        pairs = iter([(factors.down.flatten(1), factors.up.flatten(1))])
    for down, up in pairs:
        yield singular_values_of(down, up)


def _of_one_rank(update: Update) -> int:
    down, up = update.pair.down, update.pair.up
    return (down.numel + up.numel) // update.rank


def _weight_norm(names: Names, name: str) -> float | None:
    found = names.find(name)
    values = names.plan.values.get(found[1].name) if found else None
    if found is None or values is None:
        return None
    experts = found[1].experts
    if experts and values.can_read_expert():
        return math.hypot(*(_norm(values.read_expert(index)) for index in range(experts)))
    return _norm(values.read())


def _norm(values: torch.Tensor) -> float:
    import torch

    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


# -- ranks -----------------------------------------------------------------------------------


def stable_rank(values: torch.Tensor) -> float:
    """Return Σσ² / σ₁² of singular values, descending; 0 where all are zero."""
    first = float(values[0]) if len(values) else 0.0
    return float((values / first).square().sum()) if first else 0.0


def effective_rank(values: torch.Tensor) -> float:
    """Return exp of the entropy of σ/Σσ; 0 where all are zero."""
    total = float(values.sum())
    if not total:
        return 0.0
    shares = values / total
    shares = shares[shares > 0]
    return math.exp(-float((shares * shares.log()).sum()))


def suggested_rank(values: torch.Tensor) -> int:
    """Return how many of the first singular values hold `KEPT` of their squares; 0 where all are
    zero."""
    first = float(values[0]) if len(values) else 0.0
    if not first:
        return 0
    sums = (values / first).square().cumsum(0)
    return int((sums < KEPT * float(sums[-1])).sum()) + 1


# -- together --------------------------------------------------------------------------------


def by_type(found: Iterable[LayerUse]) -> list[TypeUse]:
    """Return the uses of each layer type, in the order in which the types come first."""
    types: dict[str, list[LayerUse]] = {}
    for use in found:
        types.setdefault(use.type, []).append(use)
    return [_of_type(name, members) for name, members in types.items()]


def _of_type(name: str, members: list[LayerUse]) -> TypeUse:
    ranks = [use.rank for use in members]
    return TypeUse(
        type=name,
        layers=len(members),
        ranks=(min(ranks), max(ranks)),
        stable=_mean([use.stable for use in members]),
        effective=_mean([use.effective for use in members]),
        suggested=max(use.suggested for use in members),
        norm=_mean([use.norm for use in members]),
        share=_mean([use.share for use in members]),
        idle=sum(use.idle for use in members),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def fitting(
    found: Iterable[LayerUse], config: AdapterConfig
) -> tuple[dict[str, int], dict[str, float]]:
    """Return the rank_pattern and the alpha_pattern that fit: each layer that learned anything
    with its suggested rank, scaled as before, those left out whose name is not known."""
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for use in found:
        if use.key and not use.idle:
            key, rank = re.escape(use.key), use.suggested
            ranks[key] = rank
            alphas[key] = alpha_of(rank, use.scale, config.rank_stabilised)
    return ranks, alphas


def saved_share(found: Iterable[LayerUse]) -> float:
    """Return the share of the adapter's parameters that ranks which fit would do without."""
    uses_of_all = list(found)
    whole = sum(use.parameters * use.rank for use in uses_of_all)
    kept = sum(use.parameters * use.suggested for use in uses_of_all)
    return 1 - kept / whole if whole else 0.0


def updates_alone(adapter: Adapter) -> tuple[list[Update], list[str]]:
    """Return the updates of an adapter whose base is not at hand, and the modules whose ranks
    cannot be told without it: several parameters of one module, with ranks of their own."""
    found: list[Update] = []
    unclear: list[str] = []
    for pair in adapter.low_rank:
        keys = adapter.config.parameters_at(pair.module)
        key = keys[0] if keys else pair.module
        rank, rows = adapter.config.rank_of(key), pair.down.shape[0]
        alike = len({adapter.config.rank_of(other) for other in keys}) < 2
        if alike and (rows == rank or (keys and rows % rank == 0)):
            found.append(_alone(adapter.config, pair, keys or [key], rank))
        else:
            unclear.append(pair.module)
    return found, unclear


def _alone(config: AdapterConfig, pair: LowRank, keys: list[str], rank: int) -> Update:
    experts = pair.down.shape[0] // rank
    kind: Kind = "linear" if len(pair.down.shape) == 2 else "convolution"
    if experts > 1:
        kind = "experts"
    return Update(
        name=keys[0] if len(keys) == 1 else f"{pair.module} {pair.wraps + 1}",
        key=keys[0] if len(keys) == 1 else "",
        kind="embedding" if pair.embedding else kind,
        pair=pair,
        rank=rank,
        scale=config.scale_of(keys[0], rank),
        experts=experts if experts > 1 else 0,
    )
