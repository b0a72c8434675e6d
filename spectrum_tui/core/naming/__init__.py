"""From stored tensors to the layers that are scored and the parameter names a trainer uses.

`model_layers` is the preview from headers alone; `plan.plan_parameters` (which needs torch and
transformers) gives the exact parameters, with where their values are stored.
"""

from __future__ import annotations

from spectrum_tui.core.naming.layers import Layer, ModelLayers, is_bias, plan_layers
from spectrum_tui.core.naming.stored import NAMING, model_layers, same_bytes

__all__ = [
    "NAMING",
    "Layer",
    "ModelLayers",
    "is_bias",
    "model_layers",
    "plan_layers",
    "same_bytes",
]
