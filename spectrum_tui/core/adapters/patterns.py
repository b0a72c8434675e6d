"""The ranks of a model's adapters in PEFT's configuration, as they are now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.training.live_adapters import LiveAdapter, alpha_of
from spectrum_tui.core.training.live_names import live_modules

if TYPE_CHECKING:
    import torch


def config_of(model: torch.nn.Module, name: str) -> Any:
    """Return the LoraConfig of an adapter; raises InputError where the model has none."""
    for _, module in live_modules(model):
        configs = getattr(module, "peft_config", None)
        if isinstance(configs, dict) and name in configs:
            return configs[name]
    raise InputError("The model has adapters, but no PEFT configuration.", "Use get_peft_model.")


def write_patterns(config: Any, adapters: Sequence[LiveAdapter]) -> None:
    """Put every adapter's rank and alpha into `rank_pattern` and `alpha_pattern`, by its exact
    name; where all are as the configuration says, both are empty.

    PEFT (0.21) takes a key as the end of a name and the first that fits: longer names come first.
    """
    of_config = (config.r, config.lora_alpha)
    of_each = {
        one.layer: (one.rank, alpha_of(one.rank, one.scale, one.is_rank_stabilised))
        for one in sorted(adapters, key=lambda one: -len(one.layer))
    }
    others = {} if set(of_each.values()) <= {of_config} else of_each
    config.rank_pattern = {re.escape(name): rank for name, (rank, _) in others.items()}
    config.alpha_pattern = {re.escape(name): alpha for name, (_, alpha) in others.items()}
