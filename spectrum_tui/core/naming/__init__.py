"""From stored tensors to the layers that are scored and the parameter names a trainer uses.

`stored.model_layers` is the preview from headers alone; `plan.plan_parameters` (which needs torch
and transformers) gives the exact parameters, with where their values are stored.
"""
