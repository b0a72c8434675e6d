"""Results to make PEFT recipes of, and what is in the files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.recipes.peft_kinds import ADAPTER_KINDS
from spectrum_tui.core.results.results import (
    MetricColumn,
    ModuleKind,
    Parameter,
    Provenance,
    Result,
    Scores,
)
from spectrum_tui.core.settings import METRIC
from tests import made

KINDS = {kind.name: kind for kind in ADAPTER_KINDS}


def llama(layers: int = 12, **options: Any) -> Result:
    return made.with_parameters(made.result(layers=layers, **options))


def recipe(kind: str, choice: Choice) -> tuple[dict[str, Any], str]:
    """The JSON and the Python file."""
    config, script = kind_named(kind).files(choice)
    assert config.ending.removesuffix(".json") == script.ending.removesuffix(".py")
    return json.loads(config.text), script.text


def best(result: Result, percent: int) -> set[str]:
    """Module names of the best of each type, embeddings and head aside."""
    scores = result.scores
    found: set[str] = set()
    for type_id in range(len(scores.type_names)):
        rows = np.flatnonzero(scores.type_ids == type_id)
        order = rows[np.argsort(-scores.values[rows], kind="stable")]
        found |= {scores.layers[row] for row in order[: len(rows) * percent // 100].tolist()}
    return found


def mixture(kinds: dict[str, ModuleKind] | None = None) -> Result:
    """Two blocks of a mixture: attention, a router, fused experts, a shared expert."""
    shapes = {
        "self_attn.q_proj.weight": (64, 32),
        "mlp.gate.weight": (8, 32),
        "mlp.experts.gate_up_proj": (8, 96, 32),
        "mlp.experts.down_proj": (8, 32, 48),
        "mlp.shared_expert.down_proj.weight": (32, 40),
    }
    modules: dict[str, ModuleKind] = {"mlp.gate.weight": "other"}
    modules |= {name: "other" for name in shapes if "experts" in name}
    modules |= kinds or {}
    names = [(f"model.layers.{i}.{name}", name) for name in shapes for i in range(2)]
    parameters = tuple(
        Parameter(full, shapes[name], modules.get(name, "linear")) for full, name in names
    )
    numel = np.array([p.numel for p in parameters])
    scores = Scores(
        layers=[full.removesuffix(".weight") for full, _ in names],
        type_names=[name.removesuffix(".weight") for name in shapes],
        type_ids=np.repeat(np.arange(len(shapes)), 2),
        rows=np.array([shapes[name][-2] for _, name in names]),
        columns=np.array([shapes[name][-1] for _, name in names]),
        numel=numel,
        parameters=[(full,) for full, _ in names],
        metrics={METRIC: MetricColumn(np.tile([2.0, 1.0], len(shapes)))},
    )
    origin = Provenance(model="made/mixture", naming="transformers 5.23.0 Qwen2MoeForCausalLM")
    return Result(
        scores=scores,
        embeddings=(),
        provenance=origin,
        total_parameters=int(numel.sum()),
        planned=len(names),
        parameters=parameters,
    )
