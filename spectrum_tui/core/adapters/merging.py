"""What each file of a merged model holds: the base's tensors in their order, changed or copied.

Nothing is computed before it is written: a matrix at a time is in memory. What transformers joins
when it loads (experts) is taken apart again, so that the files are named as the base's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core.adapters.folder import Adapter
from spectrum_tui.core.adapters.new_values import NewValues
from spectrum_tui.core.adapters.targets import Change, changes_of
from spectrum_tui.core.adapters.ties import stored_name, untied
from spectrum_tui.core.checkpoint.headers import BITS, Checkpoint, Tensor
from spectrum_tui.core.checkpoint.reading import read_stored, read_tensor
from spectrum_tui.core.errors import AdapterError, InputError
from spectrum_tui.core.naming.parameters import (
    ParameterPlan,
    ParameterValues,
    RuntimeParameter,
    StoredSource,
)
from spectrum_tui.core.naming.values import ConvertedGroup, ConvertedValues, DirectValues
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.quantised.dequantise import Dequantised
from spectrum_tui.core.stored_types import as_torch, torch_dtype

if TYPE_CHECKING:
    import torch

PIECE = 2**24
"""Bytes that are copied at once."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """One tensor of a file that is written; `pieces` yields its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[memoryview | bytes]]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * BITS[self.dtype] // 8


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A merge that can be written: the tensors of each file, and what its configuration must say.

    `changed` counts the parameters that are not copied, `new` names those that the base lacks;
    `rows` are those of the embeddings where they are other than the base's, else 0. `notes` say
    what a reader would not expect.
    """

    adapter: Adapter
    checkpoint: Checkpoint
    shards: Mapping[str, tuple[Content, ...]]
    changed: int
    new: tuple[str, ...] = ()
    untied: bool = False
    dequantised: bool = False
    rows: int = 0
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(content.nbytes for shard in self.shards.values() for content in shard)


def plan_merge(
    adapter: Adapter,
    checkpoint: Checkpoint,
    base: tuple[Dequantised, ParameterPlan],
    *,
    dequantise: bool = False,
) -> Merge:
    """Return what a merge writes; raises AdapterError where the adapter is of another base,
    InputError for a quantised base unless it may be dequantised."""
    stored, plan = base
    method = stored.quantisation.method
    if method and not dequantise:
        raise InputError(
            f"The base is quantised ({method}): what is merged into it is rounded twice.",
            "Give the 16-bit model it was made from, --into MODEL, or --dequantise.",
            field="model",
        )
    changes, new = changes_of(adapter, plan)
    changes, separate = untied(changes, plan, adapter)
    return _Planned(
        adapter=adapter,
        checkpoint=checkpoint,
        stored=stored,
        plan=plan,
        changes=changes,
        separate=separate,
        new=new,
    ).merge()


@dataclass(kw_only=True, eq=False)
class _Planned:
    """Goes through the base's tensors once, and says of each what is written for it."""

    adapter: Adapter
    checkpoint: Checkpoint
    stored: Dequantised
    plan: ParameterPlan
    changes: Mapping[str, Change]
    separate: Mapping[str, str]
    new: Mapping[str, Tensor]
    _restored: tuple[tuple[str, int], dict[str, torch.Tensor]] | None = None

    @cached_property
    def _values(self) -> NewValues:
        return NewValues(self.changes)

    def merge(self) -> Merge:
        written = self._written()
        dropped = self._dropped()
        shards: dict[str, list[Content]] = {shard: [] for shard in self.checkpoint.shards}
        for source in self.stored.sources:
            if source.name not in dropped:
                content = written.get(source.name) or _copied(source)
                shards[self._shard(source)].append(content)
        shards[self.checkpoint.shards[-1]] += self._added()
        return Merge(
            adapter=self.adapter,
            checkpoint=self.checkpoint,
            shards={name: tuple(contents) for name, contents in shards.items() if contents},
            changed=len(self.changes),
            new=tuple(self.new),
            untied=bool(self.separate),
            dequantised=bool(self.stored.quantisation.method),
            rows=self._rows(),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        if self.plan.banner:
            yield self.plan.banner
        if method := self.stored.quantisation.method:
            yield f"the base is decoded from {method}: not the weights that it was made from."
        for name, canonical in self.separate.items():
            yield f"{canonical} and {name} were one table; the adapter changes one: stored apart."
        if self.new:
            added = counted(len(self.new), "tensor")
            yield f"{added} that the base does not have: {', '.join(self.new)}."
        if rows := self._rows():
            yield f"the embeddings have {counted(rows, 'row')}, as the adapter's."

    def _shard(self, source: StoredSource) -> str:
        return Path(source.parts[0].file).relative_to(self.checkpoint.folder).as_posix()

    def _written(self) -> dict[str, Content]:
        """Return {stored tensor: what is written for it}, of those that change."""
        found: dict[str, Content] = {}
        for parameter in self.plan.parameters:
            names = (parameter.name, *parameter.aliases)
            found |= self._of_sources(parameter)
            if not any(name in self.changes for name in names):
                continue
            values = self._values_of(parameter)
            if isinstance(values, DirectValues):
                found[values.source.name] = self._direct(stored_name(parameter), parameter, values)
            elif isinstance(values, ConvertedValues):
                found |= self._converted(values.made)
        return found

    def _of_sources(self, parameter: RuntimeParameter) -> dict[str, Content]:
        """Return what is written where an adapter is of single stored tensors of a parameter."""
        if len(parameter.sources) < 2:
            return {}
        found = {}
        for source in parameter.sources:
            if source.name in self.changes:
                one = RuntimeParameter(
                    name=source.name, shape=source.shape, dtype=source.dtype, sources=(source,)
                )
                found[source.name] = self._direct(source.name, one, DirectValues(source))
        return found

    def _values_of(self, parameter: RuntimeParameter) -> ParameterValues:
        values = self.plan.values.get(parameter.name)
        if values is None:
            why = parameter.problem or "is not stored"
            raise AdapterError(
                f"{parameter.name} of the base {why}: nothing can be merged into it.",
                "Give the base that the adapter was trained on: --into MODEL.",
            )
        return values

    def _direct(self, name: str, parameter: RuntimeParameter, values: DirectValues) -> Content:
        if self._values.by_expert(name, parameter):
            pieces = partial(self._experts, name, parameter, values)
        else:
            pieces = partial(self._all, name, parameter, values)
        shape = self._shape(name, parameter)
        return Content(
            name=values.source.name, dtype=values.source.dtype, shape=shape, pieces=pieces
        )

    def _shape(self, name: str, parameter: RuntimeParameter) -> tuple[int, ...]:
        change = self.changes.get(name, Change())
        other = change.whole or change.beneath
        return other.shape if other is not None else parameter.shape

    def _all(
        self, name: str, parameter: RuntimeParameter, values: ParameterValues
    ) -> Iterator[memoryview]:
        yield bytes_of(self._values.whole(name, parameter, values))

    def _experts(
        self, name: str, parameter: RuntimeParameter, values: ParameterValues
    ) -> Iterator[memoryview]:
        for index in range(parameter.experts):
            yield bytes_of(self._values.expert(name, parameter, values, index))

    def _converted(self, group: ConvertedGroup) -> dict[str, Content]:
        """Return what is written for each stored tensor of a group that is converted."""
        target = self.plan.by_name.get(group.group.target)
        parts = self._members(group)
        sliced = (
            target is not None
            and group.sliceable(target.experts)
            and all(self._values.by_expert(name, p) for name, (p, _) in parts.items())
        )
        found = {}
        for pattern_sources in group.group.by_pattern.values():
            for place, source in enumerate(pattern_sources):
                pieces = partial(self._pieces, group, parts, source, place if sliced else -1)
                found[source.name] = Content(
                    name=source.name, dtype=source.dtype, shape=source.shape, pieces=pieces
                )
        return found

    def _members(
        self, group: ConvertedGroup
    ) -> dict[str, tuple[RuntimeParameter, ConvertedValues]]:
        """Return the parameters that are made of a group."""
        found = {}
        for name, values in self.plan.values.items():
            if isinstance(values, ConvertedValues) and values.made is group:
                found[name] = (self.plan.by_name[name], values)
        return found

    def _pieces(
        self,
        group: ConvertedGroup,
        parts: Mapping[str, tuple[RuntimeParameter, ConvertedValues]],
        source: StoredSource,
        place: int,
    ) -> Iterator[memoryview]:
        converter = group.group.converter
        if place < 0:
            yield bytes_of(self._restore(group, parts, -1)[source.name])
        elif converter is not None and converter.merges:
            yield bytes_of(self._restore(group, parts, place)[source.name])
        else:
            for expert in range(source.shape[0]):
                yield bytes_of(self._restore(group, parts, expert)[source.name])

    def _restore(
        self,
        group: ConvertedGroup,
        parts: Mapping[str, tuple[RuntimeParameter, ConvertedValues]],
        expert: int,
    ) -> dict[str, torch.Tensor]:
        """Return the stored tensors of a group, kept for the next of them: gate after up."""
        key = (group.group.target, expert)
        if self._restored is None or self._restored[0] != key:
            self._restored = None
            made = {}
            for name, (parameter, values) in parts.items():
                if expert < 0:
                    made[values.name] = self._values.whole(name, parameter, values)
                else:
                    one = self._values.expert(name, parameter, values, expert)
                    made[values.name] = one[None]
            self._restored = (key, group.restored(made, expert=expert))
        return self._restored[1]

    def _added(self) -> Iterator[Content]:
        """Yield what the base does not have: names that were tied, the head of a task."""
        for name, canonical in self.separate.items():
            parameter = self.plan.by_name[canonical]
            values = self._values_of(parameter)
            yield Content(
                name=name,
                dtype=parameter.dtype,
                shape=self._shape(name, parameter),
                pieces=partial(self._all, name, parameter, values),
            )
        for name, tensor in self.new.items():
            dtype = self._usual_dtype
            pieces = partial(_as_dtype, tensor, dtype)
            yield Content(name=name, dtype=dtype, shape=tensor.shape, pieces=pieces)

    @property
    def _usual_dtype(self) -> str:
        """The type of the largest tensor: what PEFT loads a new head in."""
        return max(self.stored.sources, key=lambda source: prod(source.shape)).dtype

    def _dropped(self) -> set[str]:
        """Return copies of tied tensors beside those that change: a loader may take them."""
        found = set()
        for parameter in self.plan.parameters:
            names = {parameter.name, *parameter.aliases}
            if names & self.changes.keys():
                found |= names - {source.name for source in parameter.sources}
        return found

    def _rows(self) -> int:
        """Return the rows of the embeddings where they are not as many as the base's; else 0."""
        for name in self.plan.embeddings:
            parameter = self.plan.by_name[name]
            rows = self._shape(name, parameter)[0]
            if rows != parameter.shape[0]:
                return rows
        return 0


def _copied(source: StoredSource) -> Content:
    pieces = partial(_stored_bytes, source.parts[0]) if source.decode is None else None
    return Content(
        name=source.name,
        dtype=source.dtype,
        shape=source.shape,
        pieces=pieces or partial(_decoded, source),
    )


def _stored_bytes(tensor: Tensor) -> Iterator[bytes]:
    for first in range(0, tensor.nbytes, PIECE):
        yield read_stored(tensor, first, min(PIECE, tensor.nbytes - first))


def _decoded(source: StoredSource) -> Iterator[memoryview]:
    yield bytes_of(as_torch(source.read()))


def _as_dtype(tensor: Tensor, dtype: str) -> Iterator[memoryview]:
    yield bytes_of(as_torch(read_tensor(tensor)).to(torch_dtype(dtype)))


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor in row-major order, without a copy where it lies so."""
    import torch

    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def header_of(contents: tuple[Content, ...]) -> bytes:
    """Return the first bytes of a safetensors file of these tensors, in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for content in contents:
        offsets = [at, at := at + content.nbytes]
        entries[content.name] = {
            "dtype": content.dtype,
            "shape": list(content.shape),
            "data_offsets": offsets,
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
