"""What each layer adds to the residual stream, seen where it is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_SUMS = frozenset(("add", "add_", "__add__", "__iadd__", "__radd__"))
_SAME = frozenset(("to", "float", "type_as", "clone", "contiguous", "dropout"))
"""Functions whose result is their argument, in another type or place."""


class ResidualStream(TorchFunctionMode):
    """Takes the mean over tokens of ‖added‖ / ‖stream‖ for every layer of the blocks.

    The stream is what goes into a block, each sum of it with something of the same shape, and its
    norm where that is what is added to (post-norm models). The layers that have computed since the
    last sum are those that made what is added: attention's, then the MLP's; where both are added
    at once, they have one share together. In a model without such sums no layer has a share.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.mask: torch.Tensor | None = None
        self._stream: dict[int, torch.Tensor] = {}
        self._since: set[str] = set()
        self._sums: dict[str, list[float]] = {}
        self._hooks = [
            module.register_forward_hook(self._normed)
            for module in model.modules()
            if "norm" in type(module).__name__.lower()
        ]
        owners: dict[str, list[str]] = {}
        for name in names:
            owners.setdefault(name.rpartition(".")[0], []).append(name)
        for owner, own in owners.items():
            self._hooks.append(model.get_submodule(owner).register_forward_hook(self._noting(own)))

    def close(self) -> None:
        """Stop looking."""
        for hook in self._hooks:
            hook.remove()
        self._stream.clear()

    def shares(self) -> Mapping[str, float]:
        """{parameter: the share that its layer adds}, of those that add anything."""
        return {name: total / count for name, (total, count) in self._sums.items() if count}

    def enter(self, arguments: Sequence[Any]) -> None:
        """Begin a block with these arguments, the first of which that fits is the stream."""
        self._since.clear()
        fitting = (one for one in arguments if isinstance(one, torch.Tensor) and _fits(one))
        first = next(fitting, None)
        self._stream = {} if first is None else {id(first): first}

    def _noting(self, names: list[str]) -> Any:
        return lambda module, inputs, output: self._since.update(names)

    def _normed(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if inputs and id(inputs[0]) in self._stream and isinstance(output, torch.Tensor):
            self._stream[id(output)] = output

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as torch does, after a look at what is added to what."""
        name = getattr(func, "__name__", "")
        is_stream = bool(args) and id(args[0]) in self._stream
        if name in _SUMS and len(args) > 1:
            is_stream = self._seen(args[0], args[1])
        elif name not in _SAME:
            is_stream = False
        output = func(*args, **(kwargs or {}))
        if is_stream and isinstance(output, torch.Tensor):
            self._stream[id(output)] = output
        return output

    def _seen(self, a: Any, b: Any) -> bool:
        """Take the share of a sum that goes on the stream; returns whether it is one."""
        if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape):
            return False
        stream, added = (b, a) if id(b) in self._stream else (a, b)
        if id(stream) not in self._stream or not _fits(stream):
            return False
        if self._since:
            total, count = self._share(added.detach(), stream.detach())
            for name in self._since:
                known = self._sums.setdefault(name, [0.0, 0.0])
                known[0] += total
                known[1] += count
            self._since.clear()
        return True

    def _share(self, added: torch.Tensor, stream: torch.Tensor) -> tuple[float, float]:
        wide = torch.promote_types(added.dtype, torch.float32)
        above, below = (torch.linalg.vector_norm(t, dim=-1, dtype=wide) for t in (added, stream))
        counts = below > 0
        if self.mask is not None and self.mask.shape == counts.shape:
            counts = counts & self.mask.bool()
        return float((above / below)[counts].sum()), float(counts.sum())


def _fits(tensor: torch.Tensor) -> bool:
    """Return whether it can be a stream: sequences of vectors."""
    return tensor.ndim == 3 and tensor.is_floating_point()
