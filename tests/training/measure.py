"""What training really holds in memory, counted on the tensors themselves: torch only.

The benchmark's table and the tests of the memory estimates count by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class StaticBytes:
    """Bytes that are there between two steps, whatever the batch: no activations among them."""

    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.parameters + self.gradients + self.optimizer


def static_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> StaticBytes:
    """The bytes of a model and its optimizer, after a backward pass and a step.

    Gradients are only there between backward and `zero_grad`. Buffers of the model are not
    counted; what a quantised weight needs besides itself is.
    """
    return StaticBytes(parameter_bytes(model), gradient_bytes(model), optimizer_bytes(optimizer))


def trainable(model: torch.nn.Module) -> int:
    """Elements of the parameters that train, tied ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def parameter_bytes(model: torch.nn.Module) -> int:
    """The parameters, tied ones once, with the constants of quantised ones (bitsandbytes)."""
    tensors: list[torch.Tensor] = []
    for parameter in model.parameters():
        tensors.append(parameter)
        tensors += _tensors(getattr(parameter, "quant_state", None))
    return _size(tensors)


def gradient_bytes(model: torch.nn.Module) -> int:
    """The gradients that are there now."""
    return _size(p.grad for p in model.parameters() if p.grad is not None)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Every tensor of the optimizer's states: moments, 8-bit blocks with their constants, steps."""
    return _size(tensor for state in optimizer.state.values() for tensor in _tensors(state))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a state: itself, the values of a dict, the attributes of a plain object."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif hasattr(value, "absmax"):  # bitsandbytes' QuantState, which may hold another one
        for item in vars(value).values():
            yield from _tensors(item)


def _size(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes, counting a tensor once that several hold (the code of an 8-bit optimizer)."""
    seen = {(t.data_ptr() or id(t), t.numel()): t.numel() * t.element_size() for t in tensors}
    return sum(seen.values())
