"""A learning rate for each layer, by how it ranks within its type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.numbers import is_real
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import layers_per_type, ranks
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.training.live_adapters import live_adapters
from spectrum_tui.core.training.live_names import LiveParameter, live_parameters, unique

if TYPE_CHECKING:
    import torch

LOWEST = 0.1
"""What the last layer of a type gets of the learning rate, where nothing else is asked for."""
Importance = Result | str | Path | Mapping[str, float]
"""Scores of layers: a result, its file, or {layer: score}."""


def param_groups(
    model: torch.nn.Module,
    scores: Importance,
    *,
    lr: float,
    lowest: float = LOWEST,
    loraplus_lr_ratio: float = 1.0,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """Return what trains, in groups for any optimizer of torch, each with its learning rate.

    The first of the n layers of a type has `lr`, the last `lr` times `lowest`, the r-th `lr` times
    lowest^((r-1)/(n-1)): equal steps on a logarithmic scale, since scores of different types cannot
    be compared. What no score names (heads, norms), and a layer that is alone in its type, has
    `lr`. LoRA's B, and all vectors of an adapter, have `loraplus_lr_ratio` times as much as A, as
    in PEFT's LoRA+ (Hayou et al. 2024, arXiv:2402.12354). Vectors have no weight decay.

    Raises InputError where nothing trains, or where no layer that trains has a score.
    """
    given = (lr, lowest, loraplus_lr_ratio)
    if not all(is_real(one) and one > 0 for one in given) or lowest > 1:
        raise InputError(
            "lr and loraplus_lr_ratio must be above 0, lowest above 0 and at most 1.",
            "Try lowest=0.1.",
        )
    factors, layers = _factors(scores, lowest), _layers(model)
    trained = [p for p in unique(live_parameters(model)) if p.parameter.requires_grad]
    if not trained:
        raise InputError("Nothing in the model trains.", "Add adapters, or call freeze_except.")
    if not any(_layer_of(one, layers, factors) in factors for one in trained):
        raise InputError(
            "No layer that trains has a score.", "Give the scores of this model, by its names."
        )
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for one in trained:
        rate = lr * factors.get(_layer_of(one, layers, factors), 1.0)
        if one.role == "adapter" and (".lora_B." in one.actual or one.parameter.ndim == 1):
            rate *= loraplus_lr_ratio
        decay = weight_decay if one.parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(one.parameter)
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (rate, decay), params in sorted(groups.items(), key=lambda item: -item[0][0])
    ]


def optimizer_cls_and_kwargs(
    model: torch.nn.Module, scores: Importance, *, lr: float, **options: Any
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Return AdamW with the groups of `param_groups`, of which `options` are, as transformers'
    `Trainer(optimizer_cls_and_kwargs=...)` and TRL's trainers take it. The trainer's schedule moves
    all learning rates alike."""
    import torch

    return torch.optim.AdamW, {"params": param_groups(model, scores, lr=lr, **options), "lr": lr}


def _factors(scores: Importance, lowest: float) -> dict[str, float]:
    """{layer: what it gets of the learning rate}"""
    if isinstance(scores, Mapping):
        return _by_rank(scores, {name: layer_type(name) for name in scores}, lowest)
    result = scores if isinstance(scores, Result) else load_result(Path(scores).expanduser())
    known = result.scores
    counts = layers_per_type(known)[known.type_ids].tolist()
    each = zip(known.layers, ranks(known).tolist(), counts, strict=True)
    return {layer: _factor(rank, n, lowest) for layer, rank, n in each if rank}


def _by_rank(
    scores: Mapping[str, float], types: Mapping[str, str], lowest: float
) -> dict[str, float]:
    of_type: dict[str, list[str]] = {}
    for name in sorted(scores, key=lambda name: -scores[name]):
        of_type.setdefault(types[name], []).append(name)
    return {
        name: _factor(rank, len(names), lowest)
        for names in of_type.values()
        for rank, name in enumerate(names, 1)
    }


def _factor(rank: int, count: int, lowest: float) -> float:
    return float(lowest ** ((rank - 1) / (count - 1))) if count > 1 else 1.0


def _layers(model: torch.nn.Module) -> dict[int, str]:
    """{id of a factor: the layer that it adapts}"""
    found = live_adapters(model)
    return {id(p): one.layer for one in found for p in (one.down, one.up)}


def _layer_of(one: LiveParameter, layers: dict[int, str], known: Mapping[str, float]) -> str:
    """Return the layer of a parameter: a module, or a parameter of experts."""
    layer = layers.get(id(one.parameter), one.owner)
    return one.name if layer not in known else layer
