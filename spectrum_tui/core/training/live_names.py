"""The parameters of a model in memory, under the names that a recipe has for them.

Wrappers put parts into the names: PEFT `base_model.model.`, torch.compile `_orig_mod.`, DDP
`module.`, FSDP and activation checkpointing parts in the middle. They are told by the class of
the module that holds the part, not by the part alone: a model may have a `module` of its own.
No import of torch or of any wrapper: classes are known by their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

_ALWAYS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts that stand for nothing but the wrapper, wherever they are."""
_HELD_AS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "DeepSpeedEngine": "module",
    "PeftModel": "base_model",
    "BaseTuner": "model",
    "BaseTunerLayer": "base_layer",
    "PreTrainedModelWrapper": "pretrained_model",
}
"""Class of a wrapper: what it calls the module inside."""


Role = Literal["", "adapter", "copy", "replaced"]
"""What a parameter is to PEFT: the model's own, added beside a layer, the copy of a layer in
`modules_to_save`, or what that copy stands in for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveParameter:
    """One name of a parameter; a tied one has several.

    `name` is the recipe's, `actual` that of `model.named_parameters()`. A copy has the name of
    the layer that it stands in for.
    """

    name: str
    actual: str
    parameter: torch.nn.Parameter
    module: torch.nn.Module
    role: Role

    @property
    def adapter(self) -> bool:
        """Whether PEFT added it."""
        return self.role in ("adapter", "copy")

    @property
    def owner(self) -> str:
        """The path of the module that it is the weight or bias of."""
        return self.name.rpartition(".")[0]

    @property
    def numel(self) -> int:
        """Its elements, where several processes or quantised bytes hold them too."""
        whole = getattr(self.parameter, "ds_numel", 0)  # DeepSpeed ZeRO 3: a part is here
        packed = getattr(self.parameter, "quant_state", None)  # bitsandbytes: two in a byte
        shape = getattr(packed, "shape", None)
        return int(whole or (shape.numel() if shape is not None else self.parameter.numel()))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a module is: its path without wrappers, and what it is to PEFT."""

    path: str
    role: Role = ""
    copies: tuple[str, ...] = ()
    """Names among the children that stand for the module itself (copies of modules_to_save)."""

    def child(self, part: str, role: Role) -> _Place:
        return _Place(f"{self.path}.{part}" if self.path else part, role)


def live_parameters(model: torch.nn.Module) -> list[LiveParameter]:
    """Every name of every parameter, in the model's order."""
    found: list[LiveParameter] = []
    for actual, place, module in _modules(model):
        prefix = f"{place.path}." if place.path else ""
        before = f"{actual}." if actual else ""
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.append(
                LiveParameter(
                    name=prefix + name,
                    actual=before + name,
                    parameter=parameter,
                    module=module,
                    role=place.role,
                )
            )
    return found


def live_modules(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return (name, module) of every module, wrappers under the name of what they hold."""
    return [(place.path, module) for _, place, module in _modules(model)]


def unique(parameters: list[LiveParameter]) -> list[LiveParameter]:
    """Return the first name of each parameter: what `model.named_parameters()` lists."""
    return list({id(p.parameter): p for p in reversed(parameters)}.values())[::-1]


def is_a(module: object, name: str) -> bool:
    """Return whether a module is of the class of that name, or inherits from it."""
    return name in _classes_of(module)


def wrappers_of(model: torch.nn.Module) -> set[str]:
    """Return the class names of all modules, those that they inherit from included."""
    return {name for module in model.modules() for name in _classes_of(module)}


def _modules(model: torch.nn.Module) -> Iterator[tuple[str, _Place, torch.nn.Module]]:
    """(path in the model, place, module), parents first, shared modules under each path."""
    places: dict[str, _Place] = {}
    modules: dict[str, torch.nn.Module] = {}
    for actual, module in model.named_modules(remove_duplicate=False):
        parent, _, part = actual.rpartition(".")
        if actual:
            places[actual] = _place(places[parent], modules[parent], part)
        else:
            places[actual] = _Place("")
        modules[actual] = module
        yield actual, places[actual], module


def _place(place: _Place, parent: Any, part: str) -> _Place:
    if part in place.copies:
        return _Place(place.path, "copy")
    classes = _classes_of(parent)
    if part in _ALWAYS or any(_HELD_AS.get(name) == part for name in classes):
        return _Place(place.path, place.role)
    if "AuxiliaryTrainingWrapper" in classes and part == "modules_to_save":
        return _Place(place.path, "copy", copies=_active(parent))
    if "AuxiliaryTrainingWrapper" in classes and part == "original_module":
        return place.child(part, "replaced")
    added = {"BaseTunerLayer", "PeftModel", "AuxiliaryTrainingWrapper"} & classes
    return place.child(part, place.role or ("adapter" if added else ""))


def _active(wrapper: Any) -> tuple[str, ...]:
    active: str | list[str] = getattr(wrapper, "active_adapter", [])
    return (active,) if isinstance(active, str) else tuple(active)


def _classes_of(module: object) -> frozenset[str]:
    return _names(type(module).__mro__)


@lru_cache(maxsize=4096)
def _names(classes: tuple[type, ...]) -> frozenset[str]:
    return frozenset(cls.__name__ for cls in classes)
