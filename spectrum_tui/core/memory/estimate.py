"""What a policy takes to train, for every percentage at once.

All percentages from 0 to 100 are summed when a policy is first asked for, so that a step of the
slider looks up a number: 2 µs, whatever the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.memory.compute import step_cost
from spectrum_tui.core.memory.model import Architecture, ModelSizes
from spectrum_tui.core.memory.presets import COPY, Preset, Training
from spectrum_tui.core.recipes.adapters import adapter_layers
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.peft_kinds import HYBRID, LORA
from spectrum_tui.core.results.policy import Policy, step_of
from spectrum_tui.core.results.results import FloatArray, IntArray
from spectrum_tui.core.results.selection import (
    ALWAYS,
    LAST,
    NEVER,
    Selection,
    Shape,
    running_sums,
)

ASSUMPTIONS = (
    "bf16 activations; attention without a sequence × sequence matrix (SDPA, flash)",
    "every matrix of a block keeps its inputs and outputs, 2 bytes per value",
    "with gradient checkpointing: the input of every block, and one block in full",
    "logits in bf16, in fp32, and their gradient: 10 bytes per token and vocabulary entry",
    "not counted: CUDA itself, fragmentation, gathered weights, evaluation",
)
"""What the estimate of activations rests on."""


_Parts = tuple[float, float, float]
"""Bytes of weights, gradients and optimizer state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes on each GPU. `trained` are parameters; `blocks_back` of `blocks` are reached by the
    backward pass without gradient checkpointing (0 of 0 where the model has none); `step` is the
    cost of a training step relative to training everything (see `compute.step_cost`)."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    trained: int
    blocks_back: int = 0
    blocks: int = 0
    step: float = 1.0

    @property
    def parts(self) -> dict[str, float]:
        """What the bytes are for, by name."""
        return {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
        }

    @property
    def reach(self) -> str:
        """How many of the blocks gradients reach, in words: `24 of 32 blocks`."""
        return numbers.part_of(self.blocks_back, self.blocks, "block")

    @property
    def static(self) -> float:
        """What is there all the time."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """With activations, at their most."""
        return self.static + self.activations


@dataclass(frozen=True, eq=False)
class _Column:
    """At every step of the percentage: what trains, of it what keeps 32-bit state, the lowest block
    that trains (as many as there are for none), and the bytes by which 16 bits exceed 4."""

    trained: IntArray
    full_state: IntArray
    lowest: IntArray
    unpacked: IntArray


class MemoryTable:
    """The estimates of one ranking."""

    def __init__(self, selection: Selection, sizes: ModelSizes) -> None:
        self.sizes = sizes
        self._total = int(sizes.numel.sum())
        self._four_bit = float(sizes.four_bit.sum())
        self.selection = selection
        self._members = _members(selection, sizes)
        self._columns: WeakKeyDictionary[Shape, _Column] = WeakKeyDictionary()
        self._adapters: WeakKeyDictionary[Shape, _Column] = WeakKeyDictionary()

    def estimate(self, policy: Policy, training: Training) -> Estimate:
        """Return the bytes of a policy; with adapters those of the preset's own recipe."""
        preset = training.preset
        if preset.adapters:
            parts, trained, first = self._adapted(policy, training)
        else:
            column, step = self._column(policy), policy.step
            trained, first = int(column.trained[step]), int(column.lowest[step])
            parts = self._whole(preset, trained, int(column.full_state[step]))
        return self._estimate(parts, trained, first, training)

    def of_names(self, names: Iterable[str], training: Training) -> Estimate:
        """Return the bytes while parameters of these names train themselves, whatever chose
        them."""
        own, trained, full_state = self._of(names)
        first = int(self.sizes.block[own].min(initial=_blocks(self.sizes)))
        parts = self._whole(training.preset, trained, full_state)
        return self._estimate(parts, trained, first, training)

    def _estimate(self, parts: _Parts, trained: int, first: int, training: Training) -> Estimate:
        weights, gradients, optimizer = _divided(parts, training)
        model, blocks = self.sizes.architecture, _blocks(self.sizes)
        reached = blocks - first if blocks else 0
        return Estimate(
            weights=weights,
            gradients=gradients,
            optimizer=optimizer,
            activations=activations(model, training, first) if model else 0.0,
            trained=trained,
            blocks_back=reached,
            blocks=blocks,
            step=step_cost(
                reached=reached / blocks if blocks else 1.0,
                trained=trained / self._total if self._total else 1.0,
                checkpointing=training.checkpointing,
            ),
        )

    def of_layer(self, row: int, training: Training) -> float:
        """Return the bytes of gradients and optimizer state on each GPU that one layer takes while
        it trains as the preset's own recipe has it; 0 where that gives it no adapter."""
        preset = training.preset
        _, trained, full_state = self._of(self.selection.result.scores.parameters[row])
        parts = self._whole(preset, trained, full_state)
        if preset.adapters:
            layers = adapter_layers(self.selection)
            adaptable = bool(layers.adaptable[row])
            whole = preset.hybrid and bool(layers.whole(layers.adaptable)[row])
            adapter = training.tiers.high_rank * int(layers.width[row]) * adaptable
            each = COPY[1:] if whole else (preset.gradients, preset.optimizer)
            count = trained if whole else adapter
            parts = (0.0, each[0] * count, each[1] * count)
        _, gradients, optimizer = _divided(parts, training)
        return gradients + optimizer

    def _of(self, names: Iterable[str]) -> tuple[IntArray, int, int]:
        """(which parameters these names are, their size, of it what keeps 32-bit state)."""
        sizes = self.sizes
        found = {sizes.index[name] for name in names if name in sizes.index}
        own = np.fromiter(found, np.int64, len(found))
        numel = sizes.numel[own]
        return own, int(numel.sum()), int(numel[sizes.full_state[own]].sum())

    def totals(self, policy: Policy, training: Training) -> FloatArray:
        """Return the sum at every whole percentage 0..100 of a policy."""
        every = (
            self.estimate(replace(policy, percent=percent), training).total
            for percent in range(101)
        )
        return np.fromiter(every, np.float64, 101)

    def _whole(self, preset: Preset, trained: int, full_state: int) -> _Parts:
        """Return where weights train themselves."""
        optimizer = preset.optimizer * trained
        if preset.eight_bit:
            optimizer += (8.0 - preset.optimizer) * full_state
        return preset.weights * self._total, preset.gradients * trained, optimizer

    def _adapted(self, policy: Policy, training: Training) -> tuple[_Parts, int, int]:
        """(bytes, what trains, the lowest block that does) with adapters."""
        preset = training.preset
        choice = Choice(selection=self.selection, policy=policy, tiers=training.tiers)
        count = (HYBRID if preset.hybrid else LORA).count(choice)
        end = choice.medium_end if preset.hybrid else policy.percent
        column = self._of_adapters(choice.shape)
        base = self._four_bit if preset.four_bit else preset.weights * self._total
        if preset.hybrid:
            base += int(column.unpacked[policy.step])
        each = zip((4.0, preset.gradients, preset.optimizer), COPY, strict=True)
        weights, gradients, optimizer = (a * count.adapters + c * count.full for a, c in each)
        parts = (base + weights, gradients, optimizer)
        return parts, count.adapters + count.full, int(column.lowest[step_of(end)])

    def _column(self, policy: Policy) -> _Column:
        """Of weights that train themselves."""
        shape = self.selection.shape(policy)
        if shape not in self._columns:
            self._columns[shape] = self._of_weights(shape)
        return self._columns[shape]

    def _of_weights(self, shape: Shape) -> _Column:
        sizes = self.sizes
        first = self._first(np.where(shape.frozen, NEVER, shape.threshold))
        first[sizes.in_embeddings] = NEVER
        heads = (sizes.index.get(head.name, -1) for head in shape.heads)
        first[[at for at in heads if at >= 0]] = ALWAYS
        return _Column(
            running_sums(first, sizes.numel),
            running_sums(first, np.where(sizes.full_state, sizes.numel, 0)),
            _lowest(first, sizes),
            np.zeros(LAST + 1, np.int64),
        )

    def _of_adapters(self, shape: Shape) -> _Column:
        """Where the recipes put adapters; 0.3 s for 60,000 layers, when first asked."""
        if shape not in self._adapters:
            sizes, layers = self.sizes, adapter_layers(self.selection)
            limit = layers.limit(shape)
            first = self._first(limit)
            whole = self._first(np.where(layers.whole(layers.adaptable), limit, NEVER))
            none = np.zeros(LAST + 1, np.int64)
            unpacked = (2.0 * sizes.numel - sizes.four_bit).astype(np.int64)
            lowest, sums = _lowest(first, sizes), running_sums(whole, unpacked)
            self._adapters[shape] = _Column(none, none, lowest, sums)
        return self._adapters[shape]

    def _first(self, limit: IntArray) -> IntArray:
        """Per parameter the step that trains it, given that of each row."""
        rows, parameters = self._members
        first = np.full(len(self.sizes), NEVER, np.int64)
        np.minimum.at(first, parameters, limit[rows])
        return first


def _divided(parts: _Parts, training: Training) -> _Parts:
    by, gpus = training.sharding, training.gpus
    weights, gradients, optimizer = parts
    return (
        weights / (gpus if by.weights else 1),
        gradients / (gpus if by.gradients else 1),
        optimizer / (gpus if by.optimizer else 1),
    )


def activations(model: Architecture, training: Training, first: int) -> float:
    """Bytes of activations on a GPU, when `first` is the lowest block that trains.

    With gradient checkpointing the input of every block is kept, for transformers has gradients
    flow down to the embeddings then, whatever trains.
    """
    tokens = float(training.tokens)
    reached = model.widths[first:]
    if training.checkpointing:
        kept = 2.0 * model.hidden * model.blocks + 2.0 * float(model.widths.max())
    else:
        kept = 2.0 * float(reached.sum())
    return tokens * (kept + (2.0 + 4.0 + 4.0) * model.vocabulary)


def _members(selection: Selection, sizes: ModelSizes) -> tuple[IntArray, IntArray]:
    """(row, parameter) of every name that a row trains, where the model has it."""
    names = selection.result.scores.parameters
    counts = [len(group) for group in names]
    rows = np.repeat(np.arange(len(names)), counts)
    index = sizes.index
    found = np.array([index.get(name, -1) for group in names for name in group], np.int64)
    return rows[found >= 0], found[found >= 0]


def _lowest(first: IntArray, sizes: ModelSizes) -> IntArray:
    """At every step the lowest block that trains; 0 where an embedding does."""
    lowest = np.full(NEVER + 1, _blocks(sizes), np.int64)
    np.minimum.at(lowest, first, sizes.block)
    return np.asarray(np.minimum.accumulate(lowest)[: LAST + 1], np.int64)


def _blocks(sizes: ModelSizes) -> int:
    return sizes.architecture.blocks if sizes.architecture else 0
