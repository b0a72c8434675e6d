"""The values of a model's parameters, read from the checkpoint when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from spectrum_tui.core.naming.model_class import load_config, resolve_class
from spectrum_tui.core.naming.parameters import ParameterPlan
from spectrum_tui.core.naming.transformers_api import quiet

NEW_SEED = 0
"""Of the parameters that a checkpoint does not fill, such as the head of a bare encoder."""


def skeleton(
    raw: Mapping[str, Any], model_class: str, device: torch.device, dtype: torch.dtype
) -> Any:
    """Return a model whose parameters have no memory, but whose buffers are as they will be, on
    their device.

    Buffers (the frequencies of rotary embeddings) are made by the constructor and not stored: on
    the meta device they would be lost.
    """
    with quiet():
        chosen, config = resolve_class(load_config(raw), model_class)
        config = deepcopy(config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # the values are dequantised as they are read
        for part in (config, config.get_text_config()):
            if hasattr(part, "use_cache"):
                part.use_cache = False  # a block that computes again would find its first keys
        if dtype == torch.float64:
            config._experts_implementation = "eager"  # grouped products know no float64
        with _parameters_on_meta():
            model = chosen(config)
    for module in model.modules():
        module._buffers |= {
            name: buffer.to(device)
            for name, buffer in module._buffers.items()
            if buffer is not None
        }
    return model.eval()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and parameter.device.type != "meta":
            kept = vars(parameter)
            parameter = type(parameter)(parameter.data.to("meta"), parameter.requires_grad)
            vars(parameter).update(kept)
        register(module, name, parameter)

    nn.Module.register_parameter = on_meta  # type: ignore[assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


class Weights:
    """Reads parameters by the model's names, in one type, on one device.

    Nothing is held but what the checkpoint does not store, unless `hold` is set.
    """

    def __init__(
        self, model: Any, plan: ParameterPlan, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._plan = plan
        self._device = device
        self.dtype = dtype
        self.hold = False
        self._held: dict[str, torch.Tensor] = {}
        self._names = {also: p.name for p in plan.parameters for also in (p.name, *p.aliases)}
        own = dict.fromkeys(self.canonical(name) for name, _ in model.named_parameters())
        self.new = [name for name in own if name not in plan.values]
        self._held |= {n: self._placed(t) for n, t in _initial(model, self.new).items()}

    def canonical(self, name: str) -> str:
        """Return the one name of a parameter that may be tied to others."""
        return self._names.get(name, name)

    def read(self, name: str) -> torch.Tensor:
        """Return the values of a parameter, those of one that is not stored as they start."""
        name = self.canonical(name)
        if name in self._held:
            return self._held[name]
        values = self._placed(self._plan.values[name].read())
        if self.hold:
            self._held[name] = values
        return values

    def _placed(self, values: torch.Tensor) -> torch.Tensor:
        if not values.is_floating_point():
            return values.to(self._device)
        return values.to(self._device, self.dtype)


def _initial(model: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the values that parameters start from which the checkpoint does not store: those of
    the model's own initialisation, with a seed."""
    owners = {name: name.rpartition(".")[0] for name in names}
    found: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NEW_SEED)
        for owner in dict.fromkeys(owners.values()):
            module = model.get_submodule(owner)
            before = dict(module._parameters)
            for name, parameter in before.items():
                if parameter is not None:
                    empty = torch.zeros(parameter.shape, dtype=parameter.dtype)
                    module._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
            model._init_weights(module)
            made = {n: p.detach() for n, p in module._parameters.items() if p is not None}
            found |= {n: made[n.rpartition(".")[2]] for n, of in owners.items() if of == owner}
            module._parameters.update(before)
    return found
