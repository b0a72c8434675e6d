"""Small models as trainers have them, and results with made-up scores for their layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.naming.transformers_api import module_kind
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import (
    EmbeddingParameter,
    MetricColumn,
    Parameter,
    Provenance,
    Result,
    Scores,
)
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.settings import METRIC

SIZES = {
    "vocab_size": 2000,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 10,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def causal(kind: str, *, tied: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    """A causal language model of 8 M parameters: `llama`, `qwen2` (with biases) or `gpt2`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    if kind == "gpt2":
        config = AutoConfig.for_model("gpt2", vocab_size=2000, n_embd=256, n_layer=10, n_head=4)
    else:
        config = AutoConfig.for_model(kind, **SIZES, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config).to(dtype)


def scored(model: Any) -> Result:
    """A result with a score for every matrix of the model, in the order of its modules."""
    names = {id(module): name for name, module in model.named_modules()}
    parameters = tuple(
        Parameter(name, tuple(weight.shape), module_kind(_owner(model, name)))
        for name, weight in model.named_parameters()
    )
    inputs, output = model.get_input_embeddings(), model.get_output_embeddings()
    tables = dict.fromkeys((f"{names[id(inputs)]}.weight", f"{names[id(output)]}.weight"))
    tied = inputs.weight is output.weight
    first, second = tables
    heads = (
        (EmbeddingParameter(first, inputs.weight.numel(), (second,)),)
        if tied
        else tuple(EmbeddingParameter(name, output.weight.numel()) for name in tables)
    )
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if getattr(module, "weight", None) is not None and module.weight.ndim == 2
        if not isinstance(module, nn.Embedding) and module is not output
    ]
    scores = _scores(layers)
    total = sum(p.numel for p in parameters)
    return Result(
        scores=scores,
        embeddings=heads,
        provenance=Provenance(model="made"),
        total_parameters=total,
        planned=len(layers),
        parameters=parameters,
    )


def _owner(model: Any, name: str) -> Any:
    return model.get_submodule(name.rpartition(".")[0])


def _scores(layers: list[tuple[str, Any]]) -> Scores:
    kinds = [layer_type(name) for name, _ in layers]
    types = list(dict.fromkeys(kinds))
    return Scores(
        layers=[name for name, _ in layers],
        type_names=types,
        type_ids=np.array([types.index(kind) for kind in kinds]),
        rows=np.array([module.weight.shape[0] for _, module in layers]),
        columns=np.array([module.weight.shape[1] for _, module in layers]),
        numel=np.array([sum(p.numel() for p in module.parameters()) for _, module in layers]),
        parameters=[
            tuple(f"{name}.{p}" for p, _ in module.named_parameters()) for name, module in layers
        ],
        metrics={METRIC: MetricColumn(np.random.default_rng(0).uniform(0.1, 2.0, len(layers)))},
    )


def chosen(result: Result, percent: int, *, embeddings: bool) -> set[str]:
    """The parameters that a recipe of this choice names."""
    rows = np.flatnonzero(
        Selection(result).mask(Policy(percent=percent, embeddings=embeddings))
    ).tolist()
    names = {name for row in rows for name in result.scores.parameters[row]}
    return names | {h.name for h in result.embeddings} if embeddings else names
