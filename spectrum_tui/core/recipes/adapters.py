"""Which layers can carry a LoRA adapter, which tier each falls in, and what that trains.

PEFT adapts a linear module under its exact name. Three things need another way or none: experts
that are fused into one 3-D parameter; the dense `gate_proj`, `up_proj` and `down_proj` of a model
with such experts, since PEFT (0.21, `transformers_weight_conversion.py`) takes those names for the
experts' of older checkpoints and adapts the experts of every block instead; and whatever is no
linear module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from weakref import WeakKeyDictionary

import numpy as np

from spectrum_tui.core.experts import (
    is_expert_part,
    is_fused_linear,
    is_of_experts,
    is_router,
    listed_expert,
)
from spectrum_tui.core.layer_types import Group, group_of, layer_type
from spectrum_tui.core.recipes.similar import Likeness, similar_to_previous
from spectrum_tui.core.results.policy import step_of
from spectrum_tui.core.results.results import BoolArray, IntArray, Parameter, Result
from spectrum_tui.core.results.selection import NEVER, Selection, Shape, running_sums


class Place(IntEnum):
    """How an adapter gets to a layer; everything from HEAD on gets none, for that reason."""

    MODULE = 0
    WEIGHT = 1
    EXPERTS = 2
    EMBEDDINGS = 3
    VECTOR = 4
    OTHER = 5
    STORED_EXPERT = 6
    INSIDE = 7


REASONS = {
    Place.EMBEDDINGS: "embeddings and output heads",
    Place.VECTOR: "norms, vectors and convolutions",
    Place.OTHER: "routers and others that are not linear modules",
    Place.STORED_EXPERT: "experts under stored names, which trainers fuse on loading",
    Place.INSIDE: "matrices that their block reads directly, bypassing an adapter",
}
"""Why a layer is left out."""
_FIRST_REASON = Place.EMBEDDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCount:
    """What trains: `high` and `medium` layers, `adapters` parameters of LoRA and `full` ones of
    modules that train whole; `share` of the model's parameters, 0 where sizes are unknown.
    `shared` of the high layers use the adapter of the layer before them."""

    high: int
    medium: int
    adapters: int
    full: int
    shared: int
    share: float

    @property
    def parameters(self) -> int:
        """All that trains; 0 where sizes are unknown."""
        return self.adapters + self.full


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some layers: how many, the parameters of their adapters of rank 1, those of fused experts
    among them, and the parameters of all other layers themselves, biases included."""

    layers: int
    width: int
    expert_width: int
    full: int


class AdapterLayers:
    """What adapters need to know of every layer of a ranking, computed once; and what they come to
    by the thresholds of a policy.

    `place[i]` is a `Place`; `width[i]` the parameters of an adapter of rank 1 (inputs plus
    outputs, times the experts; 0 where sizes are unknown), `experts[i]` how many experts are
    fused in layer i, else 1.
    """

    def __init__(self, selection: Selection) -> None:
        scores = selection.result.scores
        self.result = selection.result  # not the selection, which this is kept by: neither would go
        found = list(_placed(selection))
        self.place: IntArray = np.fromiter((f[0] for f in found), np.int64, len(found))
        self.width: IntArray = np.fromiter((f[1] for f in found), np.int64, len(found))
        self.experts: IntArray = np.fromiter((f[2] for f in found), np.int64, len(found))
        self._scored = selection.rank > 0
        task = {one.name for one in self.result.task_head}
        rows = scores.parameters
        self._of_task = np.fromiter((not task.isdisjoint(n) for n in rows), np.bool_, len(rows))
        self.adaptable: BoolArray = np.asarray(self.place < _FIRST_REASON)
        self._whole_numel = np.where(
            (self.width > 0) & (self.place != Place.EXPERTS), scores.numel, 0
        )
        self._sums: WeakKeyDictionary[Shape, list[IntArray]] = WeakKeyDictionary()
        self._likeness: Likeness | None = None
        self._follows: BoolArray = np.zeros(len(scores), np.bool_)

    def limit(self, shape: Shape) -> IntArray:
        """Return the step that selects each layer; NEVER for those that carry no adapter."""
        return np.where(self.adaptable, shape.threshold, NEVER)

    def sums(self, shape: Shape, percent: float) -> Sums:
        """Return what the layers that a percentage selects come to."""
        if shape not in self._sums:
            limit, fused = self.limit(shape), np.where(self.place == Place.EXPERTS, self.width, 0)
            parts = (None, self.width, fused, self._whole_numel)
            self._sums[shape] = [running_sums(limit, part) for part in parts]
        return Sums(*(int(part[step_of(percent)]) for part in self._sums[shape]))

    def tiers(self, shape: Shape, percent: float, end: float) -> tuple[BoolArray, BoolArray]:
        """Return which layers are in the top `percent`, and which from there to `end`."""
        limit = self.limit(shape)
        high = np.asarray(limit <= step_of(percent))
        return high, np.asarray(limit <= step_of(end)) & ~high

    def whole(self, high: BoolArray) -> BoolArray:
        """Return the high layers that can train whole: modules, which fused experts are not."""
        return np.asarray(high & (self.place != Place.EXPERTS))

    def sharing(self, high: BoolArray) -> BoolArray:
        """Return the high layers that use the adapter of the layer before them. Reads kept spectra
        from disk when it is first asked."""
        self.measure()
        before = np.concatenate(([False], high[:-1]))
        return high & before & self._follows

    def measure(self) -> str:
        """By what layers are taken as similar, in words."""
        if self._likeness is None:
            rows = np.flatnonzero(self.whole(self.adaptable & self._scored)).tolist()
            self._likeness = similar_to_previous(self.result, rows)
            self._follows = self._alike() & self._likeness.alike
        return self._likeness.measure

    def _alike(self) -> BoolArray:
        """Return whether each layer is of the type, sizes and kind of the one before it."""
        scores = self.result.scores
        same = np.zeros(len(scores), np.bool_)
        columns = (scores.type_ids, scores.rows, scores.columns, self.place)
        same[1:] = np.logical_and.reduce([c[1:] == c[:-1] for c in columns])
        return self.whole(same)

    def head_numel(self, modules: tuple[str, ...]) -> int:
        """Return the parameters of the head of the task that are in these modules."""
        within = tuple(f"{module}." for module in modules)
        return sum(one.numel for one in self.result.task_head if one.name.startswith(within))

    def left_out(self, shape: Shape, percent: float, *, embeddings: bool) -> dict[Place, IntArray]:
        """{reason: rows} of the layers that a percentage selects and no adapter can be given; not
        those of the head of the task where that trains whole."""
        selected = (shape.threshold <= step_of(percent)) & ~self.adaptable
        if embeddings:
            selected &= ~self._of_task
        rows = np.flatnonzero(selected)
        return {p: rows[self.place[rows] == p] for p in REASONS if (self.place[rows] == p).any()}


_KNOWN: WeakKeyDictionary[Selection, AdapterLayers] = WeakKeyDictionary()


def adapter_layers(selection: Selection) -> AdapterLayers:
    """Return what adapters need to know of a ranking, kept for as long as the ranking is."""
    if selection not in _KNOWN:
        _KNOWN[selection] = AdapterLayers(selection)
    return _KNOWN[selection]


# -- where an adapter goes ---------------------------------------------------------------------


def _placed(selection: Selection) -> Iterator[tuple[Place, int, int]]:
    """(place, width, experts) of every layer."""
    result = selection.result
    scores = result.scores
    by_name = {parameter.name: parameter for parameter in result.parameters}
    names = by_name or dict.fromkeys(scores.layers)
    mixture = any(is_of_experts(name) for name in names)
    for row, inside in enumerate(selection.in_embeddings.tolist()):
        weight = scores.parameters[row][0]
        parameter = by_name.get(weight) or _assumed(result, row)
        place = Place.EMBEDDINGS if inside else _place(parameter, by_name, row in scores.parts)
        if place is Place.MODULE and mixture and is_expert_part(_last_part(weight)):
            place = Place.WEIGHT
        yield place, *_width(parameter.shape, place)


def _last_part(weight: str) -> str:
    return weight.removesuffix(".weight").rpartition(".")[2]


def _width(shape: tuple[int, ...], place: Place) -> tuple[int, int]:
    """(parameters of an adapter of rank 1, experts)."""
    if place is Place.EXPERTS and len(shape) == 3:
        return shape[0] * (shape[1] + shape[2]), shape[0]
    return (sum(shape) if place < Place.EXPERTS else 0), 1


def _assumed(result: Result, row: int) -> Parameter:
    """Return what a score file tells of a weight: its name, perhaps its sizes."""
    scores = result.scores
    rows, columns = int(scores.rows[row]), int(scores.columns[row])
    shape: tuple[int, ...] = (rows, columns) if rows else ()
    if row in scores.parts and rows:
        shape = (len(scores.parts[row]), *shape)
    return Parameter(scores.parameters[row][0], shape)


def _place(parameter: Parameter, known: dict[str, Parameter], has_parts: bool) -> Place:
    """Return where an adapter of this weight goes, by what its module is, else by name and
    shape."""
    name, shape = parameter.name, parameter.shape
    if len(shape) == 3:
        return Place.EXPERTS if has_parts or is_of_experts(name) else Place.VECTOR
    if shape and (len(shape) != 2 or min(shape) < 2):
        return Place.VECTOR
    match parameter.module:
        case "linear" | "conv1d":
            return Place.INSIDE if _is_read_past(name, known) else Place.MODULE
        case "embedding":
            return Place.EMBEDDINGS
        case "other":
            return Place.OTHER
    return _guessed(name, has_shape=bool(shape))


def _is_read_past(name: str, known: dict[str, Parameter]) -> bool:
    """Return whether the module around a linear one reads its weight instead of calling it:
    attention of torch's own kind, and the fused kernels of Mamba."""
    block, _, part = name.removesuffix(".weight").rpartition(".")
    if f"{block}.A_log" in known:
        return part in ("x_proj", "dt_proj", "out_proj")
    return part == "out_proj" and f"{block}.in_proj_weight" in known


def _guessed(name: str, *, has_shape: bool) -> Place:
    """Return the place of a weight whose module is not known."""
    module = name.removesuffix(".weight")
    if listed_expert(name) >= 0:
        return Place.STORED_EXPERT
    if not has_shape and is_fused_linear(module):
        return Place.EXPERTS
    if not name.endswith(".weight") or is_router(module):
        return Place.OTHER
    if "conv" in _last_part(name):
        return Place.VECTOR
    group = group_of(layer_type(module))
    if group is Group.NORMS:
        return Place.VECTOR
    return Place.EMBEDDINGS if group is Group.EMBEDDINGS else Place.MODULE
