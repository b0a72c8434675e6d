"""How a probe fits into memory: all at once, block by block, or some layers after the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spectrum_tui.core.memory.model import ModelSizes

LIVE = 3
"""Copies of a block while its gradients are made: its weights, the largest of their gradients with
what a read and a cast take besides. Measured on a LLaMA with blocks of 13 MB: 2.3."""


FIXED = 50_000_000
"""Bytes that torch's kernels take for themselves once they compute. Measured on a CPU: 45 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of a model as it computes: all weights, those outside of blocks, those of the largest
    block, and the activations that are kept for all blocks, or for one at a time."""

    weights: int
    around: int
    block: int
    activations: int
    one_block: int


@dataclass(frozen=True, slots=True)
class Passes:
    """Groups of parameters, each measured in a pass of its own over the data; see
    `records.Plan`."""

    groups: tuple[tuple[str, ...], ...]
    recompute: bool
    hold: bool
    memory: int


def in_passes(sizes: Sizes, sums: Mapping[str, int], memory: int) -> Passes:
    """Return the fastest way that fits into `memory` bytes, else the smallest one.

    `sums` are the bytes of the sum of each parameter's gradients, which is held to the end of its
    pass: exact means need it. Where all sums do not fit, parameters are measured in groups, one
    parameter at the least.
    """
    memory -= FIXED
    every, largest = sum(sums.values()), max(sums.values(), default=0)
    whole = sizes.weights + every + largest + sizes.activations
    if whole <= memory:
        return Passes((tuple(sums),), recompute=False, hold=True, memory=FIXED + whole)
    held = sizes.weights + every + largest + sizes.one_block
    if held <= memory:
        return Passes((tuple(sums),), recompute=True, hold=True, memory=FIXED + held)
    base = sizes.around + LIVE * sizes.block + sizes.one_block
    groups = _grouped(sums, memory - base)
    most = max((sum(sums[name] for name in group) for group in groups), default=0)
    return Passes(groups, recompute=True, hold=False, memory=FIXED + base + most)


def _grouped(sums: Mapping[str, int], room: int) -> tuple[tuple[str, ...], ...]:
    """Return the parameters in order, in groups of at most `room` bytes, or of one."""
    groups: list[list[str]] = []
    left = -1
    for name, size in sums.items():
        if not groups or size > left:
            groups.append([])
            left = room
        groups[-1].append(name)
        left -= size
    return tuple(map(tuple, groups))


def activation_bytes(
    *, tokens: int, layers: int, hidden: int, inner: int, vocabulary: int, width: int
) -> tuple[int, int]:
    """Return the bytes that are kept for a backward pass: of all layers, and of one at a time.

    Of each token and layer, in values of `width` bytes: 10 vectors (two norms in float32, queries,
    keys, values, output, two sums) and 4 of the MLP's inner size; logits in the model's type and
    three times in float32. Measured on LLaMAs of 4 to 30 layers within 25 %.
    """
    layer = tokens * width * (10 * hidden + 4 * inner)
    logits = tokens * vocabulary * (width + 12)
    return layers * layer + logits, layers * tokens * hidden * width + layer + logits


def rough_sizes(model: ModelSizes, tokens: int, width: int) -> Sizes:
    """Return the bytes of a model with `tokens` in a batch and values of `width` bytes, by the
    shapes of its parameters alone.

    What the matrices of a block take in and give out for a token is about what `activation_bytes`
    counts: 23 vectors of the hidden size in place of 26 where the inner size is four times that.
    """
    weights = width * int(model.numel.sum())
    found = model.architecture
    if found is None:
        return Sizes(weights=weights, around=weights, block=0, activations=0, one_block=0)
    blocks = width * np.bincount(model.block, weights=model.numel, minlength=found.blocks + 1)
    inner = blocks[: found.blocks]  # what lies below all blocks counts as the first of them
    logits = tokens * found.vocabulary * (width + 12)
    each = tokens * width * found.widths
    between = found.blocks * tokens * found.hidden * width
    return Sizes(
        weights=weights,
        around=weights - int(inner[1:].sum() + inner[1:].mean() if len(inner) > 1 else 0),
        block=int(inner[1:].max() if len(inner) > 1 else inner.max()),
        activations=int(each.sum()) + logits,
        one_block=between + int(each.max()) + logits,
    )
