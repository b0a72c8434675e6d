"""What training really holds in memory, counted on the tensors themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch

from spectrum_tui.core.platforms import forget_peak, peak_bytes, resident_bytes
from spectrum_tui.core.proof.rows import Bytes


def static_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Bytes:
    """Return the bytes of a model and its optimizer after a backward pass and a step: those that
    are there whatever the batch, no activations among them.

    Gradients are only there between backward and `zero_grad`. Buffers of the model are not
    counted; what a quantised weight needs besides itself is.
    """
    return Bytes(
        weights=parameter_bytes(model),
        gradients=gradient_bytes(model),
        optimizer=optimizer_bytes(optimizer),
    )


def trainable(model: torch.nn.Module) -> int:
    """Return the elements of the parameters that train, tied ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def trained_dtypes(model: torch.nn.Module) -> str:
    """Return the types of the parameters that train, as in `bfloat16 and float32`."""
    dtypes = {str(p.dtype) for p in model.parameters() if p.requires_grad}
    return " and ".join(sorted(name.removeprefix("torch.") for name in dtypes))


def parameter_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of the parameters, tied ones once, with the constants of quantised ones."""
    tensors: list[torch.Tensor] = []
    for parameter in model.parameters():
        tensors.append(parameter)
        tensors += _tensors(getattr(parameter, "quant_state", None))
    return _size(tensors)


def gradient_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of the gradients that are there now."""
    return _size(p.grad for p in model.parameters() if p.grad is not None)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of every tensor of the optimizer's states: moments, 8-bit blocks with
    their constants, steps."""
    return _size(tensor for state in optimizer.state.values() for tensor in _tensors(state))


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a state: itself, the values of a dict, those of a plain object."""
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


class Peaks:
    """The peaks of the device and of this process from `begin` on, beyond what was held when this
    was made."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._process = resident_bytes(os.getpid())
        self._device = torch.cuda.memory_allocated(device) if self._cuda else 0

    def begin(self) -> None:
        """Forget the peaks so far: to load a model may take more than to train it."""
        forget_peak()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._cuda)

    def beside(self, static: Bytes) -> Bytes:
        """Return the bytes of tensors with the peaks."""
        peak = torch.cuda.max_memory_allocated(self._cuda) if self._cuda else self._device
        return replace(
            static,
            peak_device=peak - self._device,
            peak_process=max(0, peak_bytes() - self._process),
        )
