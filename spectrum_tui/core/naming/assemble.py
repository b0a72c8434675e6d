"""From a model without weights and where every stored tensor goes, to the plan of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.checkpoint.sources import is_here
from spectrum_tui.core.experts import Shape, experts_in, gate_up_split
from spectrum_tui.core.naming.mapping import Mapped, SourceGroup
from spectrum_tui.core.naming.parameters import (
    Naming,
    ParameterPlan,
    ParameterValues,
    RuntimeParameter,
    StoredSource,
    is_convolution,
)
from spectrum_tui.core.naming.stored import same_bytes
from spectrum_tui.core.naming.transformers_api import (
    class_heads,
    ignored_patterns,
    module_kind,
    version,
)
from spectrum_tui.core.naming.values import ConvertedGroup, ConvertedValues, DirectValues, LastMade

Makers = Mapping[str, tuple[ConvertedGroup, Shape]]
"""{parameter: (the group that makes it, the shape that it comes out with)}"""

ALWAYS_IGNORED = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$")
BLOCK = 2**22
"""Elements that are compared at one time: 8 MiB of bfloat16 from each of two tensors."""


def assemble(model: Any, mapped: Mapped, *, naming: Naming, banner: str = "") -> ParameterPlan:
    """Return the plan: every parameter in the model's order, under the name that it has there."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    made = _made(model, mapped.groups, shapes)
    aliases = _aliases(weights, made)
    describe = _Describer(model, shapes)
    entries = [
        _entry(describe.bare(name, aliases=also), made, describe) for name, also in aliases.items()
    ]
    parameters = tuple(entry.parameter for entry in entries)
    unexpected, ignored = _split_ignored(model, mapped.unexpected)
    return ParameterPlan(
        parameters=parameters,
        naming=naming,
        missing=tuple(p.name for p in parameters if not p.sources),
        unexpected=unexpected,
        ignored=ignored,
        mismatched=tuple(
            (e.parameter.name, e.stored_shape, e.parameter.shape) for e in entries if e.mismatched
        ),
        embeddings=(embeddings := _embeddings(model, aliases)),
        heads=tuple(name for name in class_heads(model) if name not in embeddings),
        for_task=not _has_output_embeddings(model),
        model_class=type(model).__name__,
        transformers_version=version(),
        banner=banner,
        values={e.parameter.name: e.values for e in entries if e.values is not None},
    )


def _made(model: Any, groups: Iterable[SourceGroup], shapes: Mapping[str, Shape]) -> Makers:
    last = LastMade()
    made: dict[str, tuple[ConvertedGroup, Shape]] = {}
    for group in groups:
        converted = ConvertedGroup(group, model, last)
        for name, shape in converted.shapes(shapes.get(group.target, ())).items():
            made[name] = (converted, shape)
    return made


def _aliases(weights: Mapping[str, Any], made: Makers) -> dict[str, tuple[str, ...]]:
    """{parameter: its other names}, in the model's order.

    Names are tied when they are one object in the model. Where several of them are stored and
    differ, transformers unties them, and each is a parameter.
    """
    first: dict[int, str] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for name, weight in weights.items():
        canonical = first.setdefault(id(weight), name)
        if canonical == name or not _same_values(made.get(canonical), made.get(name)):
            aliases[name] = ()
        else:
            aliases[canonical] = (*aliases[canonical], name)
    return aliases


def _embeddings(model: Any, aliases: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the parameters of the model's input and output embeddings, a tied one once.

    Names alone do not tell: Mamba's table is `backbone.embeddings`. What a vision model calls
    its input embeddings is a convolution.
    """
    canonical = {also: name for name, others in aliases.items() for also in (name, *others)}
    names = {id(module): name for name, module in model.named_modules()}
    found = []
    for part in (model.get_input_embeddings, model.get_output_embeddings):
        try:
            module = part()
        except (NotImplementedError, AttributeError):
            continue
        weight = getattr(module, "weight", None)
        if getattr(weight, "ndim", 0) == 2:
            found.append(canonical.get(f"{names.get(id(module))}.weight", ""))
    return tuple(dict.fromkeys(filter(None, found)))


def _has_output_embeddings(model: Any) -> bool:
    try:
        return model.get_output_embeddings() is not None
    except (NotImplementedError, AttributeError):
        return False


def _same_values(
    a: tuple[ConvertedGroup, Shape] | None, b: tuple[ConvertedGroup, Shape] | None
) -> bool:
    """Return whether two tied names hold the same; True where only one of them is stored."""
    if a is None or b is None or a[0] is b[0]:
        return True
    groups = (a[0].group, b[0].group)
    if any(group.converter for group in groups):
        return False
    return equal_sources(groups[0].sources[0], groups[1].sources[0])


def equal_sources(a: StoredSource, b: StoredSource) -> bool:
    """Return whether two stored tensors are equal, compared in blocks until they differ; in
    samples where that would fetch both of them, 1.2 GB each, over a network.

    Those that cannot be read here count as equal, as the configuration says.
    """
    if a.shape != b.shape:
        return False
    if not all(is_here(part) for part in (*a.parts, *b.parts)):
        return True
    first, second = a.parts[0], b.parts[0]
    is_remote = first.state is None or second.state is None
    if is_remote and not (a.decode or b.decode) and first.dtype == second.dtype:
        return same_bytes(first, second)
    if a.decode or b.decode:
        return np.array_equal(a.read(), b.read())
    total = a.parts[0].numel
    for at in range(0, total, BLOCK):
        x, y = (source.read_elements(at, min(BLOCK, total - at)) for source in (a, b))
        if not np.array_equal(x, y.astype(x.dtype, copy=False)):
            return False
    return True


@dataclass(frozen=True)
class _Entry:
    parameter: RuntimeParameter
    stored_shape: Shape = ()
    values: ParameterValues | None = None

    @property
    def mismatched(self) -> bool:
        return bool(self.parameter.sources) and self.values is None


def _entry(parameter: RuntimeParameter, made: Makers, describe: _Describer) -> _Entry:
    """Return the parameter with its sources and values, from itself or from a tied name."""
    target = next((n for n in (parameter.name, *parameter.aliases) if n in made), "")
    if not target:
        return _Entry(parameter)
    converted, shape = made[target]
    group = converted.group
    parameter = replace(parameter, dtype=group.sources[0].dtype, sources=group.sources)
    if shape != parameter.shape:
        stored = (
            f"stored as {numbers.shape(*shape)}"
            if shape
            else "its stored tensors do not fit together"
        )
        problem = f"{stored}, the model has {numbers.shape(*parameter.shape)}"
        return _Entry(replace(parameter, problem=problem), shape)
    parameter = describe(parameter)
    if group.converter is None:
        return _Entry(parameter, shape, DirectValues(group.sources[0]))
    return _Entry(parameter, shape, ConvertedValues(converted, target, parameter.experts))


class _Describer:
    """Adds what the modules tell of a parameter: experts, gate and up in one, convolutions."""

    def __init__(self, model: Any, shapes: Mapping[str, Shape]) -> None:
        self._modules = dict(model.named_modules())
        self._shapes = shapes
        self._model_type = str(getattr(model.config, "model_type", ""))

    def bare(self, name: str, *, aliases: tuple[str, ...]) -> RuntimeParameter:
        """Return what the model alone says: nothing stored yet."""
        kind = module_kind(self._modules[name.rpartition(".")[0]])
        return RuntimeParameter(
            name=name, shape=self._shapes[name], dtype="", sources=(), aliases=aliases, module=kind
        )

    def __call__(self, parameter: RuntimeParameter) -> RuntimeParameter:
        name, shape = parameter.name, parameter.shape
        module = self._modules.get(name.rpartition(".")[0])
        experts = experts_in(name, shape, module)
        find = partial(gate_up_split, module=module, model_type=self._model_type)
        split = find(name, shape, self._shapes.get) if experts else None
        return replace(
            parameter,
            experts=experts,
            gate_up=split,
            convolution=not experts and is_convolution(shape, module),
        )


def _split_ignored(model: Any, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(unexpected, ignored): the latter are those that the class itself does not want."""
    pattern = re.compile("|".join(f"(?:{p})" for p in (*ALWAYS_IGNORED, *ignored_patterns(model))))
    ignored = tuple(name for name in names if pattern.search(name))
    return tuple(name for name in names if name not in set(ignored)), ignored
