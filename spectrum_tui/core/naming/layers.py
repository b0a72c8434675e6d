"""The layers of a model: what is scored, ranked and unfrozen, made from its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from spectrum_tui.core.layer_types import (
    LANGUAGE,
    is_input_embedding,
    is_output_head,
    is_task_head,
    tower_of,
)
from spectrum_tui.core.naming.parameters import VECTOR, MatrixRef, ParameterPlan, RuntimeParameter
from spectrum_tui.core.naming.roles import Sides, role_types
from spectrum_tui.core.results.results import EmbeddingParameter, Parameter
from spectrum_tui.core.scoring import svd


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module with a weight: the unit that is scored, selected and unfrozen.

    `type` is "" until `with_types` has seen all layers of the model.
    `shape` is the weight's, `rows` x `columns` that of each of its `matrix_count` matrices (one,
    but for fused experts); rows is 1 for a 1-D weight. `parameters` are the names that train
    when it is selected (weight, then bias), `numel` their elements, `nbytes` its bytes on disk.
    `matrices` say where the values are; a preview from headers has none.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    rows: int
    columns: int
    parameters: tuple[str, ...]
    numel: int
    nbytes: int
    matrix_count: int = 1
    experts: int = 0
    tower: str = ""
    matrices: tuple[MatrixRef, ...] = ()

    @property
    def one_dimensional(self) -> bool:
        """Whether its score is 1.0 by definition."""
        return len(self.shape) < 2

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """The names of its matrices: its own, and which of it where there are several."""
        labels = [matrix.label for matrix in self.matrices] or [""]
        return tuple(f"{self.name} [{label}]" if label else self.name for label in labels)

    @property
    def cost(self) -> float:
        """Estimated work, in the units of `svd.cost`."""
        return self.cost_in(svd.EXACT)

    def cost_in(self, precision: str) -> float:
        """Return the same for a precision of `svd`."""
        return self.matrix_count * svd.cost(self.rows, self.columns, precision)


@dataclass(frozen=True, kw_only=True)
class ModelLayers:
    """The layers of a model, and everything of it that is not scored.

    `skipped` are (parameter, reason). `total_parameters` counts each tied tensor once and no
    buffers. `parameters` are all of them, as a trainer will see them; `stored` are the names of
    the tensors that each is made of, where these are not its own.
    """

    layers: tuple[Layer, ...]
    embeddings: tuple[EmbeddingParameter, ...]
    skipped: tuple[tuple[str, str], ...]
    total_parameters: int
    parameters: tuple[Parameter, ...] = ()
    stored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def is_bias(name: str) -> bool:
    """Return whether a parameter is a bias: never scored, trained with the layer that it belongs
    to."""
    return name.endswith((".bias", "_bias"))


def plan_layers(plan: ParameterPlan) -> ModelLayers:
    """Return the layers of a plan, in the model's order."""
    layers: list[Layer] = []
    skipped: list[tuple[str, str]] = []
    for parameter in plan.parameters:
        if is_bias(parameter.name):
            continue
        reason = parameter.unscored
        norm = reason == VECTOR and parameter.name.endswith(".weight")
        if reason and not norm:
            skipped.append((parameter.name, reason))
        else:
            layers.append(_layer(parameter, plan))
    skipped += [(name, "no parameter of the model") for name in plan.unexpected]
    skipped += [(name, "not used by the model's class") for name in plan.ignored]
    return ModelLayers(
        layers=tuple(with_types(layers)),
        embeddings=_head(plan, layers),
        skipped=tuple(skipped),
        total_parameters=sum(p.numel for p in plan.parameters),
        parameters=tuple(Parameter(p.name, p.shape, p.module) for p in plan.parameters),
        stored={p.name: s for p in plan.parameters if (s := _stored_names(p)) != (p.name,)},
    )


def _stored_names(parameter: RuntimeParameter) -> tuple[str, ...]:
    return tuple(source.name for source in parameter.sources)


def _layer(parameter: RuntimeParameter, plan: ParameterPlan) -> Layer:
    name = parameter.name.removesuffix(".weight")
    bias = plan.by_name.get(f"{name}.bias") or plan.by_name.get(f"{parameter.name}_bias")
    members = (parameter, bias) if bias else (parameter,)
    matrices = plan.matrices(parameter)
    rows, columns = (matrices[0].rows, matrices[0].columns) if matrices else (1, parameter.numel)
    return Layer(
        name=name,
        type="",
        shape=parameter.shape,
        rows=rows,
        columns=columns,
        parameters=tuple(p.name for p in members),
        numel=sum(p.numel for p in members),
        nbytes=parameter.nbytes,
        matrix_count=max(1, len(matrices)),
        experts=parameter.experts,
        matrices=matrices,
    )


def _head(plan: ParameterPlan, layers: Iterable[Layer]) -> tuple[EmbeddingParameter, ...]:
    """Return what the model calls its embeddings and its class adds to it, stored or not, and what
    is named like one or the other."""
    tables = [layer for layer in layers if _is_table(layer.name)]
    named = [layer.parameters[0] for layer in tables if layer.parameters[0] not in plan.heads]
    poolers = (p.name for p in plan.parameters if is_task_head(owner_of(p.name)))
    task = dict.fromkeys((*plan.heads, *poolers))
    vocabulary = dict.fromkeys((*plan.embeddings, *named))
    return tuple(
        EmbeddingParameter(
            name, p.numel, p.aliases, name in task and (plan.for_task or not p.sources)
        )
        for name in (*vocabulary, *(n for n in task if n not in vocabulary))
        if (p := plan.by_name.get(name))
    )


def owner_of(parameter: str) -> str:
    """Return the module that a parameter is of: the layer, for a weight or a bias."""
    return parameter.rpartition(".")[0]


def _is_table(layer: str) -> bool:
    return is_input_embedding(layer) or is_output_head(layer)


def with_types(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers with their types, and with their tower where the model has several: each a
    ranking of its own.

    The types of the language model keep their plain names; those of a vision tower are called
    `vision:mlp.fc1`.
    """
    layers = list(layers)
    towers = [tower_of(layer.name) for layer in layers]
    # A classifier on a vision model makes no language model of it.
    inside = {t for t, layer in zip(towers, layers, strict=True) if not is_task_head(layer.name)}
    several = len(inside) > 1
    if inside and not several:
        towers = [next(iter(inside))] * len(layers)
    types: list[str] = [""] * len(layers)
    for tower in dict.fromkeys(towers):
        rows = [row for row, other in enumerate(towers) if other == tower]
        found = role_types([(layers[row].name, _sides(layers[row])) for row in rows])
        prefix = f"{tower}:" if several and tower != LANGUAGE else ""
        for row, name in zip(rows, found, strict=True):
            types[row] = f"{prefix}{name}"
    return [
        replace(layer, type=kind, tower=tower if several else "")
        for layer, kind, tower in zip(layers, types, towers, strict=True)
    ]


def _sides(layer: Layer) -> Sides:
    """Return outputs and inputs: of one expert of several, and of a convolution without its
    kernel."""
    return layer.shape[1:] if layer.experts else layer.shape[:2]


def embeddings_of(
    layers: Iterable[Layer], aliases: dict[str, tuple[str, ...]]
) -> tuple[EmbeddingParameter, ...]:
    """Return the input embeddings, output heads and heads of a task by their names, with the names
    that are tied to them."""
    layers = list(layers)
    found = [layer for layer in layers if is_input_embedding(layer.name)]
    found += [layer for layer in layers if is_output_head(layer.name)]
    tables = [
        EmbeddingParameter(name, prod(layer.shape), aliases.get(name, ()))
        for layer in found
        for name in layer.parameters[:1]
    ]
    return (*tables, *(one for layer in layers for one in _task_head(layer)))


def _task_head(layer: Layer) -> Iterator[EmbeddingParameter]:
    """Yield the weight and the bias of a layer that is named like the head of a task."""
    if is_task_head(layer.name):
        weight = prod(layer.shape)
        for name, numel in zip(layer.parameters, (weight, layer.numel - weight), strict=False):
            yield EmbeddingParameter(name, numel, task=True)
