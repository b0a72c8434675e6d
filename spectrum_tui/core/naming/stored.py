"""The checkpoint's own names: a preview from headers alone, and what is left without a class.

For dense language models they are the names of `model.named_parameters()`; for others they are
what can be shown before torch and transformers are imported, or when these do not know the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from spectrum_tui.core.checkpoint.headers import Checkpoint, Tensor
from spectrum_tui.core.checkpoint.reading import read_stored
from spectrum_tui.core.checkpoint.sources import is_here
from spectrum_tui.core.experts import experts_in, gate_up_split
from spectrum_tui.core.layer_types import (
    Group,
    group_of,
    is_input_embedding,
    is_output_head,
    natural_key,
)
from spectrum_tui.core.naming.layers import Layer, ModelLayers, embeddings_of, is_bias, with_types
from spectrum_tui.core.naming.parameters import (
    ParameterPlan,
    RuntimeParameter,
    StoredSource,
    is_convolution,
)
from spectrum_tui.core.naming.values import DirectValues
from spectrum_tui.core.results.results import Parameter
from spectrum_tui.core.scoring.svd import SCORABLE

NAMING = "the checkpoint"

_BUFFER = re.compile(
    r"(^|\.)(inv_freq|position_ids|token_type_ids|masked_bias|attn\.bias|num_batches_tracked"
    r"|running_mean|running_var|e_score_correction_bias|final_logits_bias)$"
)
"""Stored with the weights but not parameters: nothing that trains."""


def model_layers(checkpoint: Checkpoint) -> ModelLayers:
    """Return the layers of a checkpoint, under the checkpoint's own names."""
    buffers = [t for t in checkpoint.tensors if _BUFFER.search(t.name)]
    tied = _tied_head(checkpoint)
    stored = {t.name: t for t in checkpoint.tensors if not _BUFFER.search(t.name)}
    duplicates = {alias: stored.pop(alias) for alias in tied if alias in stored}
    layers: list[Layer] = []
    skipped = [(t.name, "a buffer, not a parameter") for t in buffers]
    skipped += [(name, f"tied to {tied[name]}, scored there") for name in duplicates]
    for tensor in sorted(stored.values(), key=lambda t: natural_key(t.name)):
        if is_bias(tensor.name):
            continue
        reason = _unscored(tensor)
        if reason:
            skipped.append((tensor.name, reason))
        else:
            layers.append(_layer(tensor, stored))
    aliases: dict[str, tuple[str, ...]] = {}
    for alias, name in tied.items():
        aliases[name] = (*aliases.get(name, ()), alias)
    return ModelLayers(
        layers=tuple(with_types(layers)),
        embeddings=embeddings_of(layers, aliases),
        skipped=tuple(skipped),
        total_parameters=sum(t.numel for t in stored.values()),
        parameters=tuple(Parameter(t.name, t.shape) for t in stored.values()),
    )


def _unscored(tensor: Tensor) -> str:
    """Why a parameter has no score; empty when it has one."""
    if not tensor.name.endswith(".weight"):
        return "not the weight of a layer"
    if tensor.dtype not in SCORABLE:
        return f"stored as {tensor.dtype} (quantised): scan the full-precision model"
    if tensor.numel == 0 or not tensor.shape:
        return "has no elements"
    if len(tensor.shape) > 2 and group_of(tensor.name.removesuffix(".weight")) is Group.EXPERTS:
        return f"experts fused into a {len(tensor.shape)}-D parameter"
    return ""


def _layer(weight: Tensor, stored: Mapping[str, Tensor]) -> Layer:
    name = weight.name.removesuffix(".weight")
    bias = stored.get(f"{name}.bias")
    members = (weight, bias) if bias else (weight,)
    # A convolution is the matrix (out channels, everything else), as in its forward pass.
    rows = weight.shape[0] if len(weight.shape) > 1 else 1
    return Layer(
        name=name,
        type="",
        shape=weight.shape,
        rows=rows,
        columns=weight.numel // rows,
        parameters=tuple(t.name for t in members),
        numel=sum(t.numel for t in members),
        nbytes=weight.nbytes,
    )


def _tied_head(checkpoint: Checkpoint) -> dict[str, str]:
    """{output head: input embedding} for a head that is the embedding's own tensor.

    The configuration decides; where both are stored all the same, only equal bytes are tied:
    transformers unties two that differ.
    """
    if not _ties_embeddings(checkpoint.config):
        return {}
    weights = {t.name: t for t in checkpoint.tensors if t.name.endswith(".weight")}
    inputs = [t for n, t in weights.items() if is_input_embedding(n.removesuffix(".weight"))]
    heads = [t for n, t in weights.items() if is_output_head(n.removesuffix(".weight"))]
    return {
        head.name: table.name
        for head in heads
        for table in inputs[:1]
        if head.shape == table.shape and same_bytes(head, table)
    }


def _ties_embeddings(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) else {}
    return bool(config.get("tie_word_embeddings", inner.get("tie_word_embeddings", False)))


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors agree in 64 evenly spread pieces of 4 KB.

    Two tables that were trained apart differ everywhere, so 256 KB tell what reading twice
    1.2 GB would. Tensors that cannot be read here count as equal, as configured.
    """
    if a.dtype != b.dtype or a.nbytes != b.nbytes:
        return False
    if not (is_here(a) and is_here(b)):
        return True
    steps = range(0, a.nbytes, max(4096, a.nbytes // 64))
    pieces = ((at, min(4096, a.nbytes - at)) for at in steps)
    return all(read_stored(a, at, size) == read_stored(b, at, size) for at, size in pieces)


def stored_plan(
    checkpoint: Checkpoint, sources: Iterable[StoredSource], banner: str
) -> ParameterPlan:
    """Every source a parameter of its own name, because nothing knows better; see `banner`."""
    by_name = {source.name: source for source in sources}
    tied = {alias: n for alias, n in _tied_head(checkpoint).items() if alias in by_name}
    kept = {n: s for n, s in by_name.items() if n not in tied and not _BUFFER.search(n)}
    shapes = {name: source.shape for name, source in kept.items()}
    model_type = str(checkpoint.config.get("model_type", ""))
    parameters = []
    for name, source in kept.items():
        experts = experts_in(name, source.shape)
        split = gate_up_split(name, source.shape, shapes.get, model_type=model_type)
        parameter = RuntimeParameter(
            name=name,
            shape=source.shape,
            dtype=source.dtype,
            sources=(source,),
            aliases=tuple(alias for alias, table in tied.items() if table == name),
            experts=experts,
            gate_up=split if experts else None,
            convolution=not experts and is_convolution(source.shape),
        )
        parameters.append(parameter)
    return ParameterPlan(
        parameters=tuple(sorted(parameters, key=lambda p: natural_key(p.name))),
        naming="checkpoint",
        for_task=not any(is_output_head(name.removesuffix(".weight")) for name in by_name),
        banner=banner,
        values={name: DirectValues(source) for name, source in kept.items()},
    )
