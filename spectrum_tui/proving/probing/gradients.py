"""Gradients of batches, reduced to what is asked of them: sums, squares, norms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.naming.parameters import RuntimeParameter
from spectrum_tui.core.probing.formulas import PartSums


def parts_of(parameter: RuntimeParameter, values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the matrices in a parameter (or its gradient) as views, in the order of the scan: one,
    or of fused experts the gate and the up part of each."""
    if not parameter.experts:
        yield values
        return
    for expert in values:
        if parameter.gate_up is None:
            yield expert
        else:
            yield from parameter.gate_up.cut(expert)


@dataclass(kw_only=True)
class GradientSum:
    """The gradients of one parameter so far: their sum, and the squares of each matrix."""

    parameter: RuntimeParameter
    whole: torch.Tensor | None = None
    weight: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    batches: int = 0

    def add(self, gradient: torch.Tensor, weight: torch.Tensor) -> None:
        """Take in the gradient of a batch; raises CheckpointError for one that is no number."""
        found = self._squares(gradient)
        if not all(map(math.isfinite, found)):
            raise CheckpointError(
                f"The gradient of {self.parameter.name} is no number in batch {self.batches + 1}.",
                "Compute in a wider type: --dtype float32.",
                field="dtype",
            )
        if self.whole is None:
            wide = torch.promote_types(gradient.dtype, torch.float32)
            self.whole = torch.zeros_like(gradient, dtype=wide)
            self.squares = [0.0] * len(found)
            self.weight = self._squares(weight)
            self.sizes = [part.numel() for part in parts_of(self.parameter, gradient)]
        self.whole += gradient
        self.squares = [a + b for a, b in zip(self.squares, found, strict=True)]
        self.batches += 1

    def mean(self, batches: int) -> torch.Tensor | None:
        """Return the mean over batches; None where no batch had a gradient."""
        return None if self.whole is None else self.whole.div_(batches)

    def sums(self, mean: torch.Tensor, batches: int) -> list[PartSums]:
        """Return the sums of each matrix, given the mean gradient."""
        return [
            PartSums(mean=of_mean, squares=squares, weight=weight, size=size, batches=batches)
            for of_mean, squares, weight, size in zip(
                self._squares(mean), self.squares, self.weight, self.sizes, strict=True
            )
        ]

    def _squares(self, values: torch.Tensor) -> list[float]:
        """Return the sum of squares of each matrix, added up in double precision where there is
        one."""
        wide = torch.float32 if values.device.type == "mps" else torch.float64
        parts = parts_of(self.parameter, values)
        norms = [torch.linalg.vector_norm(part, dtype=wide) for part in parts]
        return [norm**2 for norm in torch.stack(norms).tolist()]
