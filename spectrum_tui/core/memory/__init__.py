"""How much memory a choice of layers takes to train: exact counts, times what a preset keeps.

Weights, gradients and optimizer state follow from the parameters' sizes; activations are a rougher
estimate from their shapes. Nothing here imports torch.
"""

from __future__ import annotations

from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.fit import Fit, Way, fit
from spectrum_tui.core.memory.model import NO_SIZES, ModelSizes
from spectrum_tui.core.memory.presets import (
    PRESETS,
    SHARDINGS,
    Preset,
    Sharding,
    Training,
    preset_named,
    sharding_named,
)

__all__ = [
    "NO_SIZES",
    "PRESETS",
    "SHARDINGS",
    "Estimate",
    "Fit",
    "MemoryTable",
    "ModelSizes",
    "Preset",
    "Sharding",
    "Training",
    "Way",
    "fit",
    "preset_named",
    "sharding_named",
]
