"""A model in parts, each of which has its weights only while it computes.

Checkpointing by hand (Chen et al. 2016, arXiv:1604.06174): a block keeps its inputs alone, and
computes once more when its gradients are asked for. Its weights are read for each of the two, and
the gradient of each is handed on and freed as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from spectrum_tui.proving.probing.residual import ResidualStream
from spectrum_tui.proving.probing.weights import Weights

Take = Callable[[str, torch.Tensor, torch.Tensor], None]
"""Gets the name of a parameter, its gradient over a whole batch, and its values."""


def blocks_of(model: nn.Module) -> list[str]:
    """Return the modules that a model is a chain of: the members of its outermost lists that
    compute something themselves."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{block}.") for block in found)
        if isinstance(module, nn.ModuleList) and not inside:
            found += [f"{name}.{n}" for n, part in module.named_children() if _computes(part)]
    return found


def _computes(module: nn.Module) -> bool:
    has_forward = type(module).forward is not nn.Module.forward
    return has_forward and any(True for _ in module.parameters())


class Parts:
    """A model cut into blocks and what is around them.

    With `recompute`, blocks have their weights only while they compute; without, all weights are
    there for a whole batch, and nothing is computed twice.
    """

    def __init__(self, model: nn.Module, weights: Weights, blocks: Sequence[str]) -> None:
        self.model = model
        self.weights = weights
        self.recompute = False
        self.stream: ResidualStream | None = None
        self._own = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        self._late: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._take: Take = lambda name, gradient, weight: None
        self._measured: Collection[str] = ()
        self._blocks = [Block(self, name, self._below(name)) for name in blocks]
        self._crossing = self._shared()

    def _below(self, block: str) -> list[str]:
        return [name for name in self._own if name.startswith(f"{block}.")]

    @property
    def around(self) -> list[str]:
        """The parameters outside of all blocks."""
        inside = {name for block in self._blocks for name in block.names}
        return [name for name in self._own if name not in inside]

    @property
    def largest_block(self) -> list[str]:
        """The parameters of the block with the most elements."""
        sizes = {name: p.numel() for name, p in self.model.named_parameters()}
        every = [block.names for block in self._blocks] or [[]]
        return max(every, key=lambda names: sum(sizes.get(name, 0) for name in names))

    def _shared(self) -> set[str]:
        """Return the parameters that several parts use: their gradient is whole only when a batch
        is done."""
        users: dict[str, set[int]] = {}
        for place, names in enumerate([self.around, *(block.names for block in self._blocks)]):
            for name in names:
                users.setdefault(self.weights.canonical(name), set()).add(place)
        return {name for name, places in users.items() if len(places) > 1}

    def differentiate(
        self,
        loss: Callable[[Callable[..., Any]], torch.Tensor],
        measured: Collection[str],
        take: Take,
    ) -> float:
        """Return the loss of one batch, after `take` got the gradient of each measured parameter.

        `loss` computes it with a function that is called as the model is.
        """
        self._measured, self._take = measured, take
        for block in self._blocks:
            block.calls = 0
        value = loss(self._called)
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        late, self._late = self._late, {}
        for name, (gradient, weight) in late.items():
            take(name, gradient, weight)
        return float(value.item())

    def _called(self, **inputs: Any) -> Any:
        names = self.around if self.recompute else self._own
        leaves = self.leaves(names, late=lambda: False)
        if self.stream is None:
            return functional_call(self.model, leaves, (), inputs, tie_weights=False)
        with self.stream:
            return functional_call(self.model, leaves, (), inputs, tie_weights=False)

    def needs_gradient(self, names: Sequence[str]) -> bool:
        """Return whether any of these parameters is measured now."""
        return any(self.weights.canonical(name) in self._measured for name in names)

    def leaves(self, names: Sequence[str], *, late: Callable[[], bool]) -> dict[str, torch.Tensor]:
        """Return the values of parameters, those measured as leaves that hand on their gradient;
        `late` says whether more of it will come in this batch."""
        made: dict[str, torch.Tensor] = {}
        for name in names:
            canonical = self.weights.canonical(name)
            if canonical not in made:
                values = self.weights.read(canonical).detach()
                if canonical in self._measured:
                    values = self._leaf(canonical, values, late)
                made[canonical] = values
        return {name: made[self.weights.canonical(name)] for name in names}

    def _leaf(self, name: str, values: torch.Tensor, late: Callable[[], bool]) -> torch.Tensor:
        leaf = values.requires_grad_()

        def reduce(leaf: torch.Tensor) -> None:
            gradient, leaf.grad = leaf.grad, None
            if gradient is None:
                return  # what it went into was not used
            if name in self._crossing or late():
                known = self._late.get(name)
                whole = gradient if known is None else known[0] + gradient
                self._late[name] = (whole, leaf.detach())
            else:
                self._take(name, gradient, leaf.detach())

        leaf.register_post_accumulate_grad_hook(reduce)  # type: ignore[no-untyped-call]
        return leaf


class Block:
    """Stands in for the forward of one block of a model."""

    def __init__(self, parts: Parts, name: str, names: list[str]) -> None:
        self.names = names
        self.calls = 0
        self._parts = parts
        self._prefix = len(name) + 1
        self._module = parts.model.get_submodule(name)
        self._forward = self._module.forward
        self._inside = False
        self._module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the block, with weights of its own where the model is recomputed."""
        if self._inside:
            return self._forward(*args, **kwargs)
        if not self._parts.recompute:
            self._enter(args, kwargs)
            return self._forward(*args, **kwargs)
        self.calls += 1
        call = _Call(self, *tree_flatten((args, kwargs)))
        device = call.tensors[0].device if call.tensors else torch.device("cpu")
        # Where nothing below is measured, inputs ask for no gradient: this makes the outputs do.
        wanted = self._parts.needs_gradient(self.names)
        anchor = torch.zeros((), device=device, requires_grad=wanted)
        outputs = _Recomputed.apply(call, anchor, *call.tensors)  # type: ignore[no-untyped-call]
        return call.output(outputs)

    def compute(self, args: Any, kwargs: Any, *, again: bool) -> Any:
        """Compute the block with weights that are read now."""
        if not again:
            self._enter(args, kwargs)
        leaves = self._parts.leaves(self.names, late=lambda: self.calls > 1)
        weights = {name[self._prefix :]: values for name, values in leaves.items()}
        self._inside = True
        try:
            return functional_call(self._module, weights, args, kwargs, tie_weights=False)
        finally:
            self._inside = False

    def _enter(self, args: Any, kwargs: Any) -> None:
        if self._parts.stream is not None:
            self._parts.stream.enter((*args, *kwargs.values()))


class _Call:
    """The arguments of one call, apart from their tensors, and the form of what it returned."""

    def __init__(self, block: Block, leaves: list[Any], spec: Any) -> None:
        self._block = block
        self._spec = spec
        self._leaves = leaves
        self._places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.tensors: list[torch.Tensor] = [leaves[at] for at in self._places]
        for at in self._places:
            leaves[at] = None
        self._output: tuple[list[Any], Any] = ([], None)

    def run(self, tensors: Sequence[torch.Tensor], *, again: bool) -> list[torch.Tensor]:
        """Return the tensors that come out."""
        self.tensors = []  # autograd keeps them from now on
        leaves = list(self._leaves)
        for at, tensor in zip(self._places, tensors, strict=True):
            leaves[at] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        out, spec = tree_flatten(self._block.compute(args, kwargs, again=again))
        found = [leaf for leaf in out if isinstance(leaf, torch.Tensor)]
        if not again:
            forms = [None if isinstance(leaf, torch.Tensor) else (leaf,) for leaf in out]
            self._output = (forms, spec)
        return found

    def output(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Return what the block returned, with these tensors in it."""
        forms, spec = self._output
        left = iter(tensors)
        return tree_unflatten([next(left) if form is None else form[0] for form in forms], spec)


class _Recomputed(torch.autograd.Function):
    """A block that keeps nothing but its inputs."""

    @staticmethod
    def forward(ctx: Any, call: _Call, anchor: torch.Tensor, *tensors: torch.Tensor) -> Any:
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(call.run(tensors, again=False))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> Any:
        wanted = ctx.needs_input_grad[2:]
        inputs = [
            tensor.detach().requires_grad_(needed)
            for tensor, needed in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        with torch.enable_grad():
            outputs = ctx.call.run(inputs, again=True)
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
            if gradient is not None and output.requires_grad
        ]
        if pairs:
            torch.autograd.backward([one for one, _ in pairs], [one for _, one in pairs])
        return (None, None, *(tensor.grad for tensor in inputs))
