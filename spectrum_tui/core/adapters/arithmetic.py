"""The weight that an adapter makes of a weight, bit for bit as PEFT 0.21 computes it.

From `tuners/lora/layer.py` (`get_delta_weight`, `merge`) and `tuners/lora/variants.py`: PEFT holds
the factors of a 16-bit model in float32 (`cast_adapter_dtype`), multiplies on the CPU in float32,
and rounds once, when the sum is stored in the weight. The update of a parameter or an embedding is
rounded to the weight's type before it is added. DoRA scales every output of the sum to its
magnitude (Liu et al., 2024, arXiv:2402.09353, equation 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spectrum_tui.core.adapters.targets import Update
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.reading import read_tensor
from spectrum_tui.core.stored_types import as_torch

if TYPE_CHECKING:
    import torch


class Factors:
    """The values of one update, in the type that PEFT computes in for a weight of `dtype`."""

    def __init__(self, update: Update, dtype: torch.dtype) -> None:
        self._update = update
        self.down = _wide(update.pair.down, dtype)
        self.up = _wide(update.pair.up, dtype)
        magnitude = update.pair.magnitude
        self.magnitude = None if magnitude is None else _wide(magnitude, dtype).reshape(-1)

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the new weight; `weight` itself may be overwritten."""
        delta = self._delta(weight)
        if self.magnitude is not None:
            return self._scaled(weight, delta).to(weight.dtype)
        if self._update.kind in ("parameter", "embedding"):
            delta = delta.to(weight.dtype)
        return weight.add_(delta)

    def merged_expert(self, weight: torch.Tensor, expert: int) -> torch.Tensor:
        """Return the new weight of one expert of a fused parameter."""
        down, up = self.of_expert(expert)
        delta = (up @ down).mul_(self._update.scale)
        return weight.add_((delta.T if self._update.transposed else delta).to(weight.dtype))

    def of_expert(self, expert: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(down, up) of one expert: its rows of A follow each other, its columns of B are as many
        experts apart."""
        experts = self._update.experts
        down = self.down.reshape(experts, -1, self.down.shape[-1])
        up = self.up.reshape(self.up.shape[0], -1, experts)
        return down[expert], up[:, :, expert]

    @property
    def _by_column(self) -> bool:
        return self._update.transposed or self._update.kind == "embedding"

    def _delta(self, weight: torch.Tensor) -> torch.Tensor:
        scale = self._update.scale
        if self._update.kind == "convolution":
            return self._convolution(weight) * scale
        product = (self.up @ self.down).mul_(scale)
        return product.T if self._by_column else product

    def _convolution(self, weight: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as f

        if weight.shape[2:4] == (1, 1) and weight.ndim == 4:
            product = self.up.squeeze(3).squeeze(2) @ self.down.squeeze(3).squeeze(2)
            return product.unsqueeze(2).unsqueeze(3)
        convolve = {3: f.conv1d, 4: f.conv2d, 5: f.conv3d}[weight.ndim]
        made: torch.Tensor = convolve(self.down.transpose(0, 1), self.up)
        return made.transpose(0, 1)

    def _scaled(self, weight: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Return DoRA's weight: the sum, each output of it as long as its magnitude."""
        import torch

        assert self.magnitude is not None
        if self._update.kind == "convolution":
            sums = weight + delta
            dimensions = tuple(range(1, weight.dim()))
            lengths = sums.norm(p=2, dim=dimensions, keepdim=True).transpose(1, 0)
            factor = self.magnitude.view(lengths.shape) / lengths
            return sums.mul_(factor.view(-1, *[1] * (weight.dim() - 1)))
        sums = weight.T + delta.T if self._by_column else weight + delta
        lengths = torch.linalg.norm(sums, dim=1)
        factor = (self.magnitude / lengths).view(-1, 1)
        sums = sums.mul_(factor)
        return sums.T if self._by_column else sums


def merged_bias(bias: torch.Tensor, update: Update) -> torch.Tensor:
    """Return a bias with that of B added (`lora_bias`); it may be overwritten."""
    assert update.pair.up_bias is not None
    return bias.add_(_wide(update.pair.up_bias, bias.dtype) * update.scale)


def with_rows(table: torch.Tensor, rows: tuple[int, ...], values: torch.Tensor) -> torch.Tensor:
    """Return a table with these rows of tokens in place of its own."""
    import torch

    return table.index_copy(0, torch.tensor(rows), values.to(table.dtype))


def experts_of(factors: Factors, experts: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) of every expert."""
    return (factors.of_expert(expert) for expert in range(experts))


def _wide(tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    import torch

    return as_torch(read_tensor(tensor)).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
