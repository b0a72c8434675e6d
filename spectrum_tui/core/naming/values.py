"""Where the values of a parameter come from: a stored tensor, or several through a converter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.experts import GATE_AND_UP, GateUpSplit, label
from spectrum_tui.core.naming.mapping import SourceGroup
from spectrum_tui.core.naming.parameters import MatrixRef, RuntimeParameter, StoredSource, Window
from spectrum_tui.core.naming.transformers_api import Item, OneExpert
from spectrum_tui.core.stored_types import Array, as_numpy, as_torch, torch_dtype

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DirectValues:
    """A parameter that is stored as one tensor."""

    source: StoredSource

    def read(self) -> torch.Tensor:
        """Return all values."""
        return as_torch(self.source.read())

    def read_expert(self, index: int) -> torch.Tensor:
        """Return the slice `index` of the first dimension."""
        return as_torch(self.source.read_rows(index, index + 1)[0])

    def can_read_expert(self) -> bool:
        """Return whether a slice is read without reading the others."""
        return self.source.decode is None or self.source.row_aligned

    def matrices(self, parameter: RuntimeParameter) -> tuple[MatrixRef, ...]:
        """Return the whole as (rows, everything else), or every expert's."""
        if parameter.experts:
            return tuple(_fused(parameter, self.source))
        rows = parameter.shape[0]
        width = parameter.numel // rows
        return (MatrixRef("", rows, width, Window(self.source, 0, width)),)


def _fused(parameter: RuntimeParameter, source: StoredSource) -> Iterator[MatrixRef]:
    """Yield the matrices in a stored `[experts, a, b]` tensor, as windows into it."""
    rows, columns = parameter.shape[1:]
    windows = _part_windows(rows, columns, parameter.gate_up)
    for expert in range(parameter.experts):
        for part, (first, height, width, kept) in windows.items():
            start = expert * rows * columns // width + first
            yield MatrixRef(
                label(expert, part),
                height,
                len(range(*kept)) if kept else width,
                Window(source, start, width, kept),
            )


def _part_windows(
    rows: int, columns: int, split: GateUpSplit | None
) -> dict[str, tuple[int, int, int, tuple[int, ...]]]:
    """{part: (first row, rows, elements in a row, columns kept)} within one expert's matrix."""
    if split is None:
        return {"": (0, rows, columns, ())}
    gate, up = GATE_AND_UP
    if split.axis == 2:
        step, begin = (2, 1) if split.interleaved else (1, columns // 2)
        stop = columns if split.interleaved else begin
        return {
            gate: (0, rows, columns, (0, stop, step)),
            up: (0, rows, columns, (begin, columns, step)),
        }
    if split.interleaved:  # two rows at a time are one row of the window
        return {
            gate: (0, rows // 2, 2 * columns, (0, columns, 1)),
            up: (0, rows // 2, 2 * columns, (columns, 2 * columns, 1)),
        }
    return {gate: (0, rows // 2, columns, ()), up: (rows // 2, rows // 2, columns, ())}


def _part(place: int, parts: int, split: GateUpSplit | None) -> str:
    if parts == 1:
        return ""
    return GATE_AND_UP[place] if split and parts == 2 else f"part {place + 1}"


Made = dict[str, "torch.Tensor"]


class LastMade:
    """What was converted last: parameters made of the same tensors are read one after another."""

    def __init__(self) -> None:
        self._last: tuple[str, Made] | None = None

    def get(self, key: str, make: Callable[[], Made]) -> Made:
        """Return the result under `key`, made now unless it was the last one."""
        last = self._last  # one read: another thread may replace it
        if last is None or last[0] != key:
            self._last = None
            last = (key, make())
            self._last = last
        return last[1]


@dataclass(frozen=True)
class ConvertedGroup:
    """A group with the model that its converter may ask."""

    group: SourceGroup
    model: Any = field(repr=False)
    last: LastMade = field(default_factory=LastMade, repr=False)

    def convert(self, *, meta: bool = False, expert: int = -1) -> Made:
        """Return all parameters of the group; of one expert, or on the meta device, if wanted."""
        return self._run(self._items(expert, _empty_of if meta else _reader), expert)

    def _run(self, items: list[Item], expert: int) -> Made:
        converter = self.group.converter
        if converter is None:
            return {self.group.target: items[0].load()}
        model = OneExpert(self.model) if expert >= 0 else self.model
        return converter.run(self.group.target, items, model)

    def converted(self) -> Made:
        """Return all parameters, kept until another group is asked for."""
        return self.last.get(self.group.target, self.convert)

    def shapes(self, expected: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """{parameter: the shape that it comes out with}, empty where it cannot be made.

        `expected` is the target's in the model. Where experts are independent, one of them tells
        the shape of all: with 256 experts in 58 layers, 116 conversions instead of 90,000 tensors.
        """
        if self.group.converter is None:
            return {self.group.target: self.group.sources[0].shape}
        experts = expected[0] if len(expected) == 3 else 0
        try:
            if experts and self.sliceable(experts):
                one = self.convert(meta=True, expert=0)
                return {name: (experts, *made.shape[1:]) for name, made in one.items()}
            return {name: tuple(made.shape) for name, made in self.convert(meta=True).items()}
        except (
            Exception
        ):  # tensors of other sizes than the class has: an operation may say anything
            return {self.group.target: ()}

    def sliceable(self, experts: int) -> bool:
        """Return whether one expert can be made without the others."""
        converter = self.group.converter
        if converter is None or not converter.single_target or not converter.expert_wise:
            return False
        if converter.merges:
            return all(_alike(s, experts) for s in self.group.by_pattern.values())
        return all(source.shape[:1] == (experts,) for source in self.group.sources)

    def restored(self, made: Made, *, expert: int = -1) -> Made:
        """Return the stored tensors, by their names, of which the converter makes these parameters;
        of one expert if wanted. Raises CheckpointError where it does more than move elements.

        The converter is given the place of each element instead of its value, so that what comes
        out tells where each value came from.
        """
        import torch

        places: dict[str, torch.Tensor] = {}
        moved = self._run(self._items(expert, partial(_places, places)), expert)
        total = sum(of_source.numel() for of_source in places.values())
        values = torch.cat([made[name].reshape(-1) for name in moved])
        order = torch.cat([of_made.reshape(-1) for of_made in moved.values()])
        if not _is_a_permutation(order, total):
            raise CheckpointError(
                f"{self.group.target} cannot be written back: transformers changes its values when "
                "it reads them.",
                "Merge with PEFT in memory, and save the model.",
                field="model",
            )
        stored = torch.empty_like(values)
        stored[order] = values
        parts = torch.split(stored, [of_source.numel() for of_source in places.values()])
        shaped = zip(places.items(), parts, strict=True)
        return {name: part.view(of_source.shape) for (name, of_source), part in shaped}

    def _items(self, expert: int, loader: Callable[[StoredSource, int], Any]) -> list[Item]:
        converter = self.group.converter
        merges = converter is not None and converter.merges
        items = []
        for pattern, sources in self.group.by_pattern.items():
            wanted = sources[expert : expert + 1] if expert >= 0 and merges else sources
            row = expert if expert >= 0 and not merges else -1
            items += [Item(pattern, s.name, loader(s, row)) for s in wanted]
        return items


def _alike(sources: Sequence[StoredSource], experts: int) -> bool:
    return len(sources) == experts and len({source.shape for source in sources}) == 1


def _reader(source: StoredSource, row: int) -> Any:
    return lambda: as_torch(source.read_rows(row, row + 1) if row >= 0 else source.read())


def _empty_of(source: StoredSource, row: int) -> Any:
    return partial(_empty, _shape(source, row), source.dtype)


def _shape(source: StoredSource, row: int) -> tuple[int, ...]:
    return (1, *source.shape[1:]) if row >= 0 else source.shape


def _empty(shape: Sequence[int], dtype: str) -> torch.Tensor:
    import torch

    return torch.empty(shape, dtype=torch_dtype(dtype), device="meta")


def _places(given: dict[str, torch.Tensor], source: StoredSource, row: int) -> Any:
    """Return what loads the numbers of a source's elements, counted on from those of others."""
    import torch

    shape = _shape(source, row)
    first = sum(others.numel() for others in given.values())
    given[source.name] = torch.arange(first, first + prod(shape)).reshape(shape)
    return lambda: given[source.name]


def _is_a_permutation(order: torch.Tensor, total: int) -> bool:
    import torch

    if order.numel() != total or order.is_floating_point():
        return False
    if total and not 0 <= int(order.min()) <= int(order.max()) < total:
        return False
    seen = torch.zeros(total, dtype=torch.bool)
    seen[order] = True
    return bool(seen.all())


@dataclass(frozen=True)
class ConvertedValues:
    """A parameter that a converter makes: experts merged, parts joined, split or transposed."""

    made: ConvertedGroup
    name: str
    experts: int

    def read(self) -> torch.Tensor:
        """Return all values."""
        return self.made.converted()[self.name]

    def read_expert(self, index: int) -> torch.Tensor:
        """Return the slice `index` of the first dimension."""
        if self.can_read_expert():
            return self.made.convert(expert=index)[self.name][0]
        return self.made.converted()[self.name][index]

    def can_read_expert(self) -> bool:
        """Return whether a slice is read without reading the others."""
        return self._sliceable

    @cached_property
    def _sliceable(self) -> bool:
        return self.made.sliceable(self.experts)

    def matrices(self, parameter: RuntimeParameter) -> tuple[MatrixRef, ...]:
        """Return the stored matrices where each is an expert's; else what the converter makes."""
        converter = self.made.group.converter
        if not parameter.experts:
            rows = parameter.shape[0]
            width = parameter.numel // rows
            return (MatrixRef("", rows, width, Computed(self)),)
        if converter is not None and converter.merges and self.can_read_expert():
            return tuple(self._stored_experts(parameter))
        return tuple(self._computed_experts(parameter))

    def _stored_experts(self, parameter: RuntimeParameter) -> Iterator[MatrixRef]:
        by_pattern = self.made.group.by_pattern
        for expert in range(parameter.experts):
            for place, sources in enumerate(by_pattern.values()):
                source = sources[expert]
                rows, width = source.shape[0], prod(source.shape[1:])
                part = _part(place, len(by_pattern), parameter.gate_up)
                window = Window(source, 0, width)
                yield MatrixRef(label(expert, part), rows, width, window)

    def _computed_experts(self, parameter: RuntimeParameter) -> Iterator[MatrixRef]:
        split = parameter.gate_up
        for expert in range(parameter.experts):
            for part in GATE_AND_UP if split else ("",):
                values = Computed(self, expert, part, split)
                rows, columns = values.shape(parameter)
                yield MatrixRef(label(expert, part), rows, columns, values)


@dataclass(frozen=True)
class Computed:
    """A matrix that exists only after conversion."""

    values: ConvertedValues
    expert: int = -1
    part: str = ""
    split: GateUpSplit | None = None

    @property
    def by_rows(self) -> bool:
        """No part of it can be had without the conversion."""
        return False

    def shape(self, parameter: RuntimeParameter) -> tuple[int, int]:
        """(rows, columns) of an expert's matrix or of its part."""
        rows, columns = parameter.shape[1:]
        if self.split is None:
            return rows, columns
        return (rows // 2, columns) if self.split.axis == 1 else (rows, columns // 2)

    def read_rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop) of the converted matrix."""
        if self.expert < 0:
            whole = self.values.read()
            return as_numpy(whole.reshape(whole.shape[0], -1)[start:stop])
        matrix = self.values.read_expert(self.expert)
        if self.split is not None:
            matrix = self.split.cut(matrix)[GATE_AND_UP.index(self.part)]
        return as_numpy(matrix[start:stop])

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        """Columns [start, stop) of the first `rows` rows of the converted matrix."""
        return self.read_rows(0, rows)[:, start:stop]
