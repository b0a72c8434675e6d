"""From a model and batches to the metrics of its layers: the passes over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.naming.parameters import RuntimeParameter
from spectrum_tui.core.probing.formulas import metrics_of
from spectrum_tui.core.probing.passes import Passes
from spectrum_tui.core.training.sketching import sketch
from spectrum_tui.proving.probing.blocks import Parts
from spectrum_tui.proving.probing.gradients import GradientSum
from spectrum_tui.proving.probing.residual import ResidualStream

Batch = dict[str, torch.Tensor]
Loss = Callable[[Callable[..., Any], Batch], torch.Tensor]
"""Returns the mean loss of a batch, given what is called as the model is."""
Values = dict[str, tuple[float, ...]]


class Measuring:
    """Measures parameters of a model, in one pass over the batches or in several."""

    def __init__(
        self,
        parts: Parts,
        parameters: Mapping[str, RuntimeParameter],
        loss: Loss,
        tell: Callable[[int, int], None] = lambda step, steps: None,
    ) -> None:
        self._parts = parts
        self._parameters = parameters
        self._loss = loss
        self._tell = tell
        self.values: dict[str, Values] = {}
        self.sketches: dict[str, torch.Tensor] = {}
        self.loss = 0.0

    def run(self, batches: Sequence[Batch], passes: Passes) -> None:
        """Fill `values` and `sketches`; raises CheckpointError where a loss or a gradient is no
        number."""
        self._parts.recompute, self._parts.weights.hold = passes.recompute, passes.hold
        shares: Mapping[str, float] = {}
        steps = len(passes.groups) * len(batches)
        for number, group in enumerate(passes.groups):
            stream = ResidualStream(self._parts.model, self._parameters) if not number else None
            self._parts.stream = stream
            sums = {name: GradientSum(parameter=self._parameters[name]) for name in group}
            losses = []
            for at, batch in enumerate(batches):
                if stream is not None:
                    stream.mask = batch.get("attention_mask")
                losses.append(self._batch(batch, sums))
                self._tell(number * len(batches) + at + 1, steps)
            if stream is not None:
                shares = stream.shares()
                stream.close()
            self.loss = math.fsum(losses) / len(losses)
            for name in group:
                self._finish(name, sums.pop(name), len(batches))
        for name, share in shares.items():
            self._add_share(name, share)

    def _batch(self, batch: Batch, sums: Mapping[str, GradientSum]) -> float:
        def take(name: str, gradient: torch.Tensor, weight: torch.Tensor) -> None:
            sums[name].add(gradient, weight)

        value = self._parts.differentiate(lambda model: self._loss(model, batch), sums, take)
        if not math.isfinite(value):
            raise CheckpointError(
                "The loss of a batch is no number.",
                "Compute in a wider type: --dtype float32.",
                field="dtype",
            )
        return value

    def _finish(self, name: str, found: GradientSum, batches: int) -> None:
        mean = found.mean(batches)
        if mean is not None:
            self.values[name] = metrics_of(found.sums(mean, batches))
            self.sketches[name] = sketch(mean)

    def _add_share(self, name: str, share: float) -> None:
        """All matrices of a layer add to the stream together."""
        if name in self.values:
            self.values[name]["activation"] = (share,) * len(self.values[name]["gradient"])
