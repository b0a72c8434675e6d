"""Results to make pictures of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from spectrum_tui.core.results.results import Result
from tests import made
from tests.snapshots.models import DEPTH, MODEL


def with_experts() -> Result:
    """A result whose first layer is the mean of 64 experts, gate and up apart."""
    result = with_head()
    parts = tuple(
        (f"expert {expert} {half}", 0.4 + 0.3 * math.sin(expert * (2 + bias)) + bias)
        for expert in range(64)
        for half, bias in (("gate", 0.0), ("up", 0.2))
    )
    return replace(result, scores=made.ranked(result.scores, parts={0: parts}))


def with_head() -> Result:
    """Scores of a whole model, embeddings and head among them."""
    plain = made.result(layers=DEPTH, types=7, norms=True, model=MODEL)
    names = ("model.embed_tokens", "lm_head")
    scores = plain.scores
    grown = replace(
        scores,
        layers=[*scores.layers, *names],
        type_names=[*scores.type_names, *names],
        type_ids=np.append(scores.type_ids, [8, 9]),
        rows=np.append(scores.rows, [128256, 128256]),
        columns=np.append(scores.columns, [4096, 4096]),
        numel=np.append(scores.numel, [h.numel for h in made.HEAD]),
        parameters=[*scores.parameters, *((h.name,) for h in made.HEAD)],
    )
    grown = made.ranked(grown, np.append(scores.values, [0.8341, 2.117]))
    return replace(plain, scores=grown, planned=plain.planned + 2)


def partial() -> Result:
    """A stopped scan with failures."""
    failed = {3: "contains NaN", 40: "contains infinity"}
    return made.result(layers=DEPTH, planned=256, failed=failed, model=MODEL)


def foreign() -> Result:
    """Scores of another tool: no sizes, ties at infinity, an assumed head."""
    infinite = dict.fromkeys((1, 5, 9, 33), float("inf"))
    return made.result(layers=DEPTH, sizes=False, snr=infinite, model=MODEL)


def with_sizes() -> Result:
    """A whole model with every parameter known: its memory can be told."""
    return made.with_parameters(made.result(layers=DEPTH, model=MODEL))
