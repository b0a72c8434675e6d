"""A model's parameters as columns: their sizes, what a preset makes of them, where they lie.

Made once for a result; everything that depends on a percentage is then a sum over columns. What
is the same for a parameter of every block is looked at once: 0.1 s for 60,000 parameters, where
looking at each takes 1.6 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from spectrum_tui.core.experts import listed_expert, mentions_experts
from spectrum_tui.core.layer_types import LANGUAGE, is_input_embedding, is_output_head, tower_of
from spectrum_tui.core.results.results import (
    BoolArray,
    EmbeddingParameter,
    FloatArray,
    IntArray,
    ModuleKind,
    Parameter,
    int_array,
)

NO_SIZES = "These scores hold no sizes, so memory cannot be estimated."
SMALL = 4096
"""Elements below which bitsandbytes keeps 32-bit state."""
EXPERTS_PER_TOKEN = 8
"""How many experts are taken to work on a token: shapes do not tell; models have 2 to 8."""

_BLOCK = re.compile(r"(.*?)\.(\d{1,6})(?=\.|$)")
_TABLE = re.compile(r"embed|(^|\.)(wte|wpe|shared)\.")

_Key = tuple[str, str, tuple[int, ...], ModuleKind]
"""What is before the number of the block and behind it; shape, and kind of module."""


@dataclass(frozen=True, eq=False)
class Architecture:
    """The figures that activations are computed from, of the language model alone.

    `widths[i]` are the elements of a token that the matrices of block i take in and give out.
    """

    hidden: int
    vocabulary: int
    widths: FloatArray

    @property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.widths)


class _Kind:
    """What parameters of the same name in every block, and of one shape, have in common."""

    def __init__(self, key: _Key) -> None:
        before, after, self.shape, module = key
        name = f"{before}.0{after}" if after else before
        self.numel = prod(self.shape)
        self.language = tower_of(name) == LANGUAGE
        self.in_block = bool(after) and self.language
        self.table = _is_table(name, self.shape, module)
        self.linear = not self.table and _is_linear(self.shape, module, name)
        self.sides = sum(self.shape[-2:]) if len(self.shape) > 1 else 0
        self.expert = listed_expert(after)
        self.width = self._width(after)

    def _width(self, after: str) -> int:
        """Return what it takes in and gives out for a token."""
        if self.table or (len(self.shape) > 2 and not mentions_experts(after)):
            return 0
        return self.sides * min(EXPERTS_PER_TOKEN, prod(self.shape[:-2]))


class ModelSizes:
    """Columns with a row for each parameter.

    `numel` elements; `four_bit` bytes when QLoRA loads it; `full_state` where an 8-bit optimizer
    keeps 32 bits; `block` the number of the lowest that trains with it: 0 for what lies below all
    of them, as many as there are for what lies above; `in_embeddings` for embeddings and output
    head. `index` finds the row of a name, of a tied one too. `architecture` is None without a
    block.
    """

    def __init__(
        self, parameters: Sequence[Parameter], embeddings: Iterable[EmbeddingParameter]
    ) -> None:
        embeddings = tuple(embeddings)
        self.index = {parameter.name: i for i, parameter in enumerate(parameters)}
        heads = [self.index[h.name] for h in embeddings if h.name in self.index]
        for h in embeddings:
            if h.name in self.index:
                self.index.update(dict.fromkeys(h.tied, self.index[h.name]))
        kinds, kind, number = _read(parameters)
        self.in_embeddings: BoolArray = np.zeros(len(parameters), np.bool_)
        self.in_embeddings[heads] = True
        self.numel: IntArray = int_array([k.numel for k in kinds])[kind]
        linear = np.array([k.linear for k in kinds], np.bool_)[kind] & ~self.in_embeddings
        table = np.array([k.table for k in kinds], np.bool_)[kind]
        self.full_state: BoolArray = table | (self.numel < SMALL)
        self.four_bit: FloatArray = np.where(linear, nf4_bytes(self.numel), 2.0 * self.numel)
        # What sees or hears comes before the language model that reads its output.
        outside = table | ~np.array([k.language for k in kinds], np.bool_)[kind]
        above = np.where(outside, 0, number.max(initial=-1) + 1)
        self.block: IntArray = np.where(number >= 0, number, above)
        tables = [parameters[i].shape for i in heads if len(parameters[i].shape) == 2]
        self.architecture = _architecture(tables, kinds, kind, number)

    def __len__(self) -> int:
        return len(self.numel)


def nf4_bytes(numel: IntArray) -> FloatArray:
    """Bytes of NF4 weights with double quantisation, as bitsandbytes stores each tensor.

    Two values a byte; for every 64 of them a scale of one byte, for every 256 scales a float32,
    and for the tensor a float32 offset and 16 float32 levels.
    """
    scales = -(-numel // 64)
    return np.asarray(-(-numel // 2) + scales + 4 * -(-scales // 256) + 4 + 64, np.float64)


def _read(parameters: Iterable[Parameter]) -> tuple[list[_Kind], IntArray, IntArray]:
    """Return the kinds, and for every parameter which it is of and the position of its block
    (-1)."""
    known: dict[_Key, int] = {}
    kinds: list[_Kind] = []
    of: list[int] = []
    places: list[tuple[str, int]] = []
    for parameter in parameters:
        found = _BLOCK.match(parameter.name)
        before, after = parameter.name, ""
        if found:
            before, after = found[1], parameter.name[found.end() :] or "."
        key = (before, after, parameter.shape, parameter.module)
        at = known.setdefault(key, len(kinds))
        if at == len(kinds):
            kinds.append(_Kind(key))
        of.append(at)
        places.append((before, int(found[2])) if found and kinds[at].in_block else ("", -1))
    containers = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in places))}
    order = sorted(set(places) - {("", -1)}, key=lambda place: (containers[place[0]], place[1]))
    position = {place: i for i, place in enumerate(order)} | {("", -1): -1}
    return kinds, int_array(of), int_array([position[place] for place in places])


def _is_linear(shape: tuple[int, ...], module: ModuleKind, name: str) -> bool:
    """Return whether it is the matrix of a linear module; by name where the kind is not known."""
    if len(shape) != 2:
        return False
    if module:
        return module in ("linear", "conv1d")
    return name.endswith(".weight") and bool(_BLOCK.match(name))


def _is_table(name: str, shape: tuple[int, ...], module: ModuleKind) -> bool:
    """Return whether it is a table that tokens or positions are looked up in."""
    if module:
        return module == "embedding"
    layer = name.removesuffix(".weight")
    named = is_input_embedding(layer) or _TABLE.search(name)
    return bool(named) and len(shape) == 2 and not is_output_head(layer)


def _architecture(
    tables: list[tuple[int, ...]], kinds: list[_Kind], kind: IntArray, block: IntArray
) -> Architecture | None:
    """None where there is no block with a matrix."""
    inside = block >= 0
    blocks = int(block.max(initial=-1)) + 1
    single = np.array([k.expert >= 0 for k in kinds], np.bool_)[kind]
    width = int_array([k.width for k in kinds])[kind]
    count = np.zeros(blocks, np.int64)
    np.maximum.at(count, block[inside], int_array([k.expert for k in kinds])[kind][inside] + 1)
    working = np.minimum(EXPERTS_PER_TOKEN, count) / np.maximum(count, 1)
    dense, expert = (
        np.bincount(block[inside & part], weights=width[inside & part], minlength=blocks)
        for part in (~single, single)
    )
    widths = np.asarray(dense + expert * working, np.float64)
    if not widths.any():
        return None
    if not tables:
        return Architecture(_commonest_side(kinds, kind[inside]), 0, widths)
    return Architecture(tables[0][1], max(shape[0] for shape in tables), widths)


def _commonest_side(kinds: list[_Kind], present: IntArray) -> int:
    """Return the size that most matrices of the blocks have on a side: that of the hidden state."""
    sides: dict[int, int] = {}
    for kind, times in zip(kinds, np.bincount(present, minlength=len(kinds)), strict=True):
        if len(kind.shape) == 2:
            for side in kind.shape:
                sides[side] = sides.get(side, 0) + int(times)
    return max(sides, key=lambda side: sides[side], default=0)
