"""What a plan is made of: stored tensors, the parameters they become, the matrices scored.

A checkpoint's tensors and a model's parameters are not the same list. A quantised weight is
stored as several tensors (`StoredSource`), experts are joined into one parameter
(`RuntimeParameter`), and what is scored is a window into the stored data (`MatrixRef`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.reading import read_block, read_elements, read_rows, read_tensor
from spectrum_tui.core.experts import GateUpSplit
from spectrum_tui.core.results.results import ModuleKind
from spectrum_tui.core.scoring.svd import SCORABLE, MatrixValues
from spectrum_tui.core.stored_types import Array

if TYPE_CHECKING:
    import torch

Decoder = Callable[[Sequence[Array]], Array]
"""From the parts of a source, in their order, to its full-precision values."""

Naming = Literal["known", "transformers", "suffix", "checkpoint"]
"""How the parameter names were found; all but the last are a model's own."""


VECTOR = "a vector"
"""Why a 1-D parameter is no matrix; the weight of a norm scores 1.0 all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSource:
    """One tensor as a loader sees it: stored as it is, or dequantised from several parts.

    `shape` and `dtype` (a safetensors name) are those of the decoded values. Without `decode`
    there is one part, which is the values. `row_aligned`: row i of the values comes from row i
    of every part, so that rows can be decoded without the rest.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[Tensor, ...]
    decode: Decoder | None = None
    row_aligned: bool = True

    @property
    def numel(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(part.nbytes for part in self.parts)

    def read(self) -> Array:
        """Return the values, decoded."""
        return self._decoded([read_tensor(part) for part in self.parts])

    def read_rows(self, start: int, stop: int) -> Array:
        """Return the slices [start, stop) of the first dimension, reading no more where that can
        be."""
        if self.decode is not None and not self.row_aligned:
            return self.read()[start:stop]
        return self._decoded([read_rows(part, start, stop) for part in self.parts])

    def read_elements(self, first: int, count: int) -> Array:
        """`count` values from `first` on in row-major order, as a flat array."""
        if self.decode is None:
            return read_elements(self.parts[0], first, count)
        width = prod(self.shape[1:])
        start, stop = first // width, -(-(first + count) // width)
        rows = self.read_rows(start, stop).reshape(-1)
        return rows[first - start * width :][:count]

    def _decoded(self, parts: Sequence[Array]) -> Array:
        if self.decode is None:
            return parts[0]
        with np.errstate(all="ignore"):  # NaN and infinity are values like others here
            return self.decode(parts)


def plain_source(tensor: Tensor) -> StoredSource:
    """Return a tensor that is stored as its values."""
    return StoredSource(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, parts=(tensor,))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeParameter:
    """One of `model.named_parameters()`: what a trainer freezes and unfreezes.

    `dtype` is the stored one (a safetensors name, "" where nothing is stored), `aliases` are the
    other names of a tied parameter. `experts` is the number of experts fused in it, 0 for any
    other parameter; `gate_up` is set when each of them is a gate and an up matrix in one.
    `problem` says why the stored values are of no use, `module` what kind of module it belongs to.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sources: tuple[StoredSource, ...]
    aliases: tuple[str, ...] = ()
    experts: int = 0
    gate_up: GateUpSplit | None = None
    convolution: bool = False
    problem: str = ""
    module: ModuleKind = ""

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(source.nbytes for source in self.sources)

    @property
    def unscored(self) -> str:
        """Why it has no matrix to score; empty when it has."""
        if not self.sources:
            return "not stored in the checkpoint"
        if self.problem:
            return self.problem
        if self.name.endswith((".bias", "_bias")):
            return "a bias"
        if not self.numel:
            return "has no elements"
        if self.dtype not in SCORABLE:
            return f"stored as {self.dtype} (quantised): scan the full-precision model"
        return "" if self.experts else self._not_a_matrix()

    def _not_a_matrix(self) -> str:
        if len(self.shape) < 2:
            return VECTOR
        if not self.name.endswith("weight"):
            return "not the weight of a layer"
        if len(self.shape) > 2 and not self.convolution:
            return f"a {len(self.shape)}-D parameter that is not a convolution"
        return ""


def is_convolution(shape: tuple[int, ...], module: Any = None) -> bool:
    """Return whether a weight is that of a convolution; without its module, judged by
    dimensions."""
    if len(shape) < 3:
        return False
    return hasattr(module, "kernel_size") if module is not None else True


@dataclass(frozen=True, slots=True)
class Window:
    """Rows of a source seen as rows of `width` elements, and some of their columns.

    `kept` is (start, stop, step) of the columns; an empty tuple keeps all of them.
    Every matrix that is stored as it is scored is one: a weight, a convolution as (out, rest),
    an expert in a fused tensor, the gate or the up part of it.
    """

    source: StoredSource
    first: int
    width: int
    kept: tuple[int, ...] = ()

    @property
    def by_rows(self) -> bool:
        """Whether the values are stored as they are, not decoded whole for any part."""
        return self.source.decode is None

    def read_rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop) of the window; reads the bytes of these rows only."""
        count = (stop - start) * self.width
        flat = self.source.read_elements((self.first + start) * self.width, count)
        rows = flat.reshape(stop - start, self.width)
        return rows[:, slice(*self.kept)] if self.kept else rows

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        """Columns [start, stop) of the first `rows` rows; reads these bytes only where the
        values are stored as they are."""
        if self.source.decode is not None:
            return self.read_rows(0, rows)[:, start:stop]
        first, _, step = self.kept or (0, 0, 1)
        low, high = first + start * step, first + (stop - 1) * step + 1
        begin = self.first * self.width + low
        return read_block(self.source.parts[0], begin, rows, self.width, high - low)[:, ::step]


class StoredValues(MatrixValues, Protocol):
    """Where the rows of a matrix are read from that lies in files."""

    def read_rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), in the type that the values have when decoded."""
        ...

    def read_columns(self, rows: int, start: int, stop: int) -> Array:
        """Columns [start, stop) of the first `rows` rows, alike."""
        ...


@dataclass(frozen=True, slots=True)
class MatrixRef:
    """One matrix that is scored: all of a parameter, one expert, or one expert's gate or up.

    `label` tells it from the others of its parameter ("expert 17 gate"), and is empty for the
    only one. A matrix may be the transpose of what the model holds: that never changes its
    singular values.
    """

    label: str
    rows: int
    columns: int
    values: StoredValues

    def read(self) -> Array:
        """Return the whole matrix."""
        return self.values.read_rows(0, self.rows)


class ParameterValues(Protocol):
    """Where the values of one parameter come from."""

    def read(self) -> torch.Tensor:
        """Return all of them, in the parameter's shape."""
        ...

    def read_expert(self, index: int) -> torch.Tensor:
        """Return the slice `index` of the first dimension."""
        ...

    def can_read_expert(self) -> bool:
        """Return whether a slice is read without reading the others."""
        ...

    def matrices(self, parameter: RuntimeParameter) -> tuple[MatrixRef, ...]:
        """Return the matrices that are scored for this parameter."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class ParameterPlan:
    """The parameters of a model, and where each one's values are stored.

    `parameters` has every one of `model.named_parameters()` in that order, those that the
    checkpoint lacks included (`missing`). `unexpected` and `ignored` are stored tensors that no
    parameter comes from: the model's class names the ignored ones itself (old masks, layers
    for multi-token prediction). `mismatched` are (name, stored shape, the model's shape).
    `embeddings` are the tables that turn tokens into vectors and vectors into tokens, as the
    model itself knows them; `heads` are the other parameters that its class adds to the base
    model, which make no tokens where it is one `for_task`. `banner` says why the names are not
    the model's own; empty when they are.
    """

    parameters: tuple[RuntimeParameter, ...]
    naming: Naming
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    embeddings: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    for_task: bool = False
    model_class: str = ""
    transformers_version: str = ""
    banner: str = ""
    values: Mapping[str, ParameterValues] = field(default_factory=dict, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, RuntimeParameter]:
        """The parameters under their names, aliases not among them."""
        return {parameter.name: parameter for parameter in self.parameters}

    def matrices(self, parameter: RuntimeParameter) -> tuple[MatrixRef, ...]:
        """Return the matrices that are scored for it; none where `parameter.unscored` says why."""
        values = self.values.get(parameter.name)
        if values is None or parameter.unscored:
            return ()
        return values.matrices(parameter)
