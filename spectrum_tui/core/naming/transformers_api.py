"""The parts of transformers that are not documented, all in this one file.

How a checkpoint's tensors become parameters is decided by code inside transformers, 251 rule
sets in version 5.23. The functions used here are those that PEFT imports as well; they have kept
their behaviour from 5.4 to 5.23, but nothing promises it. `distrust()` therefore runs them on a
made-up case before they are believed; where it fails, the names are matched by suffix instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from spectrum_tui.core.results.results import ModuleKind

Loader = Callable[[], "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Item:
    """A stored tensor on its way through a converter: the pattern that it matched, its name."""

    pattern: str
    name: str
    load: Loader


@dataclass(frozen=True)
class Converter:
    """One of transformers' weight converters: several stored tensors to one or more parameters."""

    template: Any

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of its sources, in the order in which they are joined."""
        return tuple(self.template.source_patterns)

    @property
    def single_target(self) -> bool:
        """Whether it makes the one parameter that its sources are renamed to."""
        targets = self.template.target_patterns
        return len(targets) == 1 and "*" not in targets[0]

    @property
    def merges(self) -> bool:
        """Whether it stacks modules of a list, the experts, into a first dimension."""
        first = self.template.operations[0]
        return type(first).__name__ == "MergeModulelist" and first.dim == 0

    @property
    def expert_wise(self) -> bool:
        """Whether slice i of the result needs nothing but slice i of every source."""
        return all(_keeps_slices_apart(operation) for operation in self.template.operations)

    def run(self, target: str, items: Sequence[Item], model: Any) -> dict[str, torch.Tensor]:
        """Return the parameters made of `items`; reads them."""
        converter = deepcopy(self.template)
        for item in items:
            converter.add_tensor(target, item.name, item.pattern, item.load)
        made = converter.convert(target, model=model, config=model.config)
        values = {name: v[0] if isinstance(v, list) else v for name, v in made.items()}
        return {target: next(iter(values.values()))} if self.single_target else values


def _keeps_slices_apart(operation: Any) -> bool:
    match type(operation).__name__:
        case "MergeModulelist":
            return bool(operation.dim == 0)
        case "Concatenate" | "Interleave":
            return bool(operation.dim != 0)
        case "Transpose":
            return 0 not in (operation.dim0, operation.dim1)
    return False


class OneExpert:
    """The model as an operation may ask about it, when it is given one expert only."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def get_parameter(self, name: str) -> torch.Tensor:
        """Return the parameter, with a first dimension of 1."""
        import torch

        parameter = self._model.get_parameter(name)
        return torch.empty((1, *parameter.shape[1:]), dtype=parameter.dtype, device="meta")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Renamer:
    """What transformers' loader does to the name of each stored tensor, for one model.

    Names must be given in `in_order`: some of the rules remember what they have seen, and the
    order of experts is the order in which they arrive.
    """

    def __init__(self, transforms: Sequence[Any], prefix: str, state: Mapping[str, Any]) -> None:
        from transformers.core_model_loading import (
            WeightConverter,
            WeightRenaming,
            rename_source_key,
        )

        self._rename = rename_source_key
        self._renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        self._converters = [t for t in transforms if isinstance(t, WeightConverter)]
        self._prefix = prefix
        self._state = state
        self._by_pattern = {
            pattern: Converter(converter)
            for converter in self._converters
            for pattern in converter.source_patterns
        }

    @classmethod
    def of(cls, model: Any) -> Renamer:
        """With the rules for a model of transformers."""
        from transformers.conversion_mapping import get_model_conversion_mapping

        rules = get_model_conversion_mapping(model)
        return cls(rules, model.base_model_prefix, model.state_dict())

    @staticmethod
    def in_order(names: Iterator[str]) -> list[str]:
        """Return the names as the loader goes through them."""
        from transformers.core_model_loading import dot_natural_key

        return sorted(names, key=dot_natural_key)

    def rename(self, name: str) -> tuple[str, str]:
        """Return (the model's name for it, the converter's pattern or ""); two "" if it has
        none."""
        renamed, pattern = self._apply(name, self._renamings, self._converters)
        if renamed not in self._state and name in self._state:
            renamed, pattern = self._apply(name, [], [])
        return (renamed, pattern or "") if renamed in self._state else ("", "")

    def _apply(
        self, name: str, renamings: list[Any], converters: list[Any]
    ) -> tuple[str, str | None]:
        # Positionally: the fourth parameter changed its name between 5.9 and 5.14.
        renamed = self._rename(name, renamings, converters, self._prefix, self._state)
        return str(renamed[0]), renamed[1]

    def converter(self, pattern: str) -> Converter | None:
        """Return the converter that a pattern belongs to."""
        return self._by_pattern.get(pattern)


def version() -> str:
    """Return the installed version of transformers."""
    import transformers

    return str(transformers.__version__)


def meta_model(model_class: Any, config: Any) -> Any:
    """Return the model without memory for its weights, tied ones being one object as after
    loading."""
    import torch

    config = deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with ExitStack() as stack:
        stack.enter_context(torch.device("meta"))
        # Not no_init_weights: that leaves out the tying of weights as well.
        if safe := _meta_safe_creation():
            stack.enter_context(safe())
        return model_class(config)


def _meta_safe_creation() -> Any:
    try:
        from transformers.initialization import meta_device_safe_creation_ops
    except ImportError:
        return None
    return meta_device_safe_creation_ops


def module_kind(module: Any) -> ModuleKind:
    """Return the kind of a module as trainers see it: adapters and quantisers go by these
    classes."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return "conv1d"
    if isinstance(module, torch.nn.Linear):
        return "linear"
    return "embedding" if isinstance(module, torch.nn.Embedding) else "other"


def class_heads(model: Any) -> tuple[str, ...]:
    """Return the parameters that the class of a model adds to its base model: its output heads.

    Empty for a base model, and without what has blocks of its own: that is another model, or a
    decoder, and no head.
    """
    prefix = str(getattr(model, "base_model_prefix", ""))
    if not prefix or getattr(model, prefix, None) is None:
        return ()
    heads = []
    for part, module in model.named_children():
        if part != prefix and not _has_blocks(module):
            heads += [f"{part}.{name}" for name, _ in module.named_parameters()]
    return (*(name for name, _ in model.named_parameters(recurse=False)), *heads)


def _has_blocks(module: Any) -> bool:
    """Return whether any list in a module is one of blocks, of several matrices each."""
    from torch.nn import ModuleList, Sequential

    lists = (part for part in module.modules() if isinstance(part, ModuleList | Sequential))
    return any(sum(_matrices(child) > 1 for child in part) > 1 for part in lists)


def _matrices(module: Any) -> int:
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def ignored_patterns(model: Any) -> tuple[str, ...]:
    """Patterns of stored names that the class knows and does not want."""
    found = getattr(model, "_keys_to_ignore_on_load_unexpected", None)
    return tuple(found or ())


def auto_model_class(auto_class: Any, config: Any) -> tuple[Any, ...]:
    """Return the model classes that an Auto class has for a configuration; empty without one."""
    mapping = auto_class._model_mapping
    if type(config) not in mapping:
        return ()
    found = mapping[type(config)]
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' advice about configurations."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@cache
def distrust() -> str:
    """Why transformers' conversion code cannot be trusted; empty when it works as expected.

    Four tensors of two experts must become one parameter in the right order, under a base
    model's prefix that the stored names lack.
    """
    try:
        wrong = _self_check()
    except Exception as exc:  # whatever a changed version raises
        return f"{type(exc).__name__}: {exc}"
    return wrong


def _self_check() -> str:
    import torch
    from transformers.core_model_loading import (
        Concatenate,
        MergeModulelist,
        WeightConverter,
        WeightRenaming,
    )

    converter = WeightConverter(
        ["experts.*.gate.weight", "experts.*.up.weight"],
        "experts.gate_up",
        operations=[MergeModulelist(dim=0), Concatenate(dim=1)],
    )
    state = {"base.new.experts.gate_up": torch.empty(0), "base.plain": torch.empty(0)}
    renamer = Renamer([WeightRenaming("old", "new"), converter], "base", state)
    stored = {
        f"old.experts.{i}.{part}.weight": torch.full((1, 2), float(10 * i + (part == "up")))
        for i in (10, 2)
        for part in ("up", "gate")
    }
    return _check_names(renamer, stored) or _check_values(renamer, converter, stored)


def _check_names(renamer: Renamer, stored: Mapping[str, torch.Tensor]) -> str:
    if renamer.rename("plain") != ("base.plain", ""):
        return "the base model's prefix is not added"
    if renamer.rename("other") != ("", ""):
        return "an unknown name is taken for a parameter"
    if {renamer.rename(name)[0] for name in stored} != {"base.new.experts.gate_up"}:
        return "experts are not renamed to one parameter"
    return ""


def _check_values(renamer: Renamer, template: Any, stored: Mapping[str, torch.Tensor]) -> str:
    from types import SimpleNamespace

    import torch

    items = [
        Item(renamer.rename(name)[1], name, lambda name=name: stored[name])  # type: ignore[misc]
        for name in renamer.in_order(iter(stored))
    ]
    target = "base.new.experts.gate_up"
    made = Converter(template).run(target, items, SimpleNamespace(config=None))
    wanted = torch.tensor([[[20.0, 20.0], [21.0, 21.0]], [[100.0, 100.0], [101.0, 101.0]]])
    right = list(made) == [target] and torch.equal(made[target], wanted)
    return "" if right else "experts are not joined as they should be"
