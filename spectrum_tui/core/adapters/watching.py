"""The gradients of weights that are frozen, from what a training computes anyway.

Of a linear layer with input x (tokens x inputs) and the gradient g of its output (tokens x
outputs), the gradient of the weight is gᵀ x (outputs x inputs): what full training would have. It
is the same whether the weight is quantised, and whatever rank the layer's adapter has or whether
it trains. Only its sketch (gL)ᵀ (xR) is made, of at most 64 x 64 (see `training.sketching`): for a
layer of 4096 x 4096 that is 1 % of the layer's own work, and 64 numbers of each token are kept
from the forward to the backward pass. A norm from one sketch is off by about 12 % at the worst, a
gradient of rank 1 (the variances of both projections, 2/64 each).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.training.sketching import COLUMNS, ROWS, SIDE, signs

if TYPE_CHECKING:
    import torch

    from spectrum_tui.core.training.live_adapters import LiveAdapter


class GradientWatch:
    """Sketches of the gradients of layers with an adapter, step by step.

    Layers whose parameter is adapted past its module (fused experts) cannot be watched.
    """

    def __init__(self, adapters: Sequence[LiveAdapter]) -> None:
        self._adapters = [one for one in adapters if is_watched(one)]
        self._hooks: list[Any] = []
        self._signs: dict[tuple[int, int, torch.device], torch.Tensor] = {}
        self.forget()

    def forget(self) -> None:
        """Begin a new mean."""
        self._now: dict[str, torch.Tensor] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._norms: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    def start(self) -> None:
        """Watch from the next forward pass on."""
        for one in self._adapters:
            self._hooks.append(one.base.register_forward_hook(self._watching(one.layer)))

    def stop(self) -> None:
        """Leave the model as it was."""
        while self._hooks:
            self._hooks.pop().remove()

    def end_step(self) -> None:
        """Take what has come together since the last time as the gradient of one step."""
        norms = _norms(list(self._now.values()))
        for (layer, sketch), norm in zip(self._now.items(), norms, strict=True):
            if not math.isfinite(norm):  # a step that loss scaling throws away
                continue
            self._steps[layer] = self._steps.get(layer, 0) + 1
            self._norms[layer] = self._norms.get(layer, 0.0) + norm
            self._sums[layer] = sketch + self._sums[layer] if layer in self._sums else sketch
        self._now = {}

    def norms(self) -> dict[str, float]:
        """{layer: the mean over the steps of the Frobenius norm of its gradient}"""
        return {layer: total / self._steps[layer] for layer, total in self._norms.items()}

    def sketches(self) -> dict[str, npt.NDArray[np.float64]]:
        """{layer: the sketch of its mean gradient over the steps}"""
        return {
            one.layer: (self._sums[one.layer] / self._steps[one.layer]).double().cpu().numpy()
            for one in self._adapters
            if one.layer in self._sums
        }

    def _watching(self, layer: str) -> Callable[[Any, Any, Any], None]:
        def forward(module: Any, inputs: Any, output: Any) -> None:
            import torch

            if not torch.is_grad_enabled():
                return
            if not output.requires_grad:  # nothing below trains, but this layer's gradient is asked
                output.requires_grad_()
            narrow = self._narrow(inputs[0].detach(), COLUMNS)
            output.register_hook(lambda grad: self._add(layer, narrow, grad))

        return forward

    def _add(self, layer: str, narrow: torch.Tensor, grad: torch.Tensor) -> None:
        part = self._narrow(grad.detach(), ROWS).T @ narrow
        self._now[layer] = self._now[layer] + part if layer in self._now else part

    def _narrow(self, values: torch.Tensor, side: int) -> torch.Tensor:
        """Return values of tokens, tokens x at most 64, in float32."""
        values = values.reshape(-1, values.shape[-1])
        size = values.shape[-1]
        if size > SIDE:
            key = (size, side, values.device)
            if key not in self._signs:
                self._signs[key] = signs(size, side).to(values.device)
            values = values @ self._signs[key].to(values.dtype)
        return values.float()


def _norms(sketches: Sequence[torch.Tensor]) -> list[float]:
    """Return the norms of all, waiting for a GPU once, not once for each."""
    import torch

    norms = [sketch.norm() for sketch in sketches]
    if not norms:
        return []
    values: list[float] = torch.stack([norm.to(norms[0].device) for norm in norms]).tolist()
    return values


def is_watched(adapter: LiveAdapter) -> bool:
    """Return whether the gradient of the layer's weight can be seen."""
    return adapter.experts == 1 and not hasattr(adapter.module, "parameter_name")
