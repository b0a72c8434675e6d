"""Made-up results of a mixture of experts, each layer's experts fused in two parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spectrum_tui.core.results.results import Parameter, Parts, Result
from tests import made

GATE_UP, DOWN = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"


def result(*, layers: int = 4, experts: int = 8, bias: bool = False) -> Result:
    """A result of `layers` with attention and fused experts, and every parameter of the model.

    The score of expert e of a fused parameter in layer i is (7 e + 3 i) % experts: in layer 0 of
    8 experts, the highest are experts 1, 2 and 3. Gate lies 0.5 below it, up 0.5 above.
    """
    plain = made.with_parameters(made.result(layers=layers, types=7, snr={}))
    scores = plain.scores
    first = len(scores)
    names = [f"model.layers.{i}.{kind}" for kind in (GATE_UP, DOWN) for i in range(layers)]
    ends = ("", "_bias") if bias else ("",)
    parameters = [tuple(name + end for end in ends) for name in names]
    parts: Parts = {}
    for row, name in enumerate(names, start=first):
        layer = int(name.split(".")[2])
        halves = ((" gate", -0.5), (" up", 0.5)) if name.endswith(GATE_UP) else (("", 0.0),)
        parts[row] = tuple(
            (f"expert {e}{half}", (7 * e + 3 * layer) % experts + by)
            for e in range(experts)
            for half, by in halves
        )
    count = len(names)
    grown = replace(
        scores,
        layers=[*scores.layers, *names],
        type_names=[*scores.type_names, GATE_UP, DOWN],
        type_ids=np.append(scores.type_ids, np.repeat([7, 8], layers)),
        rows=np.append(scores.rows, np.full(count, 64)),
        columns=np.append(scores.columns, np.full(count, 32)),
        numel=np.append(scores.numel, np.full(count, experts * 64 * 32)),
        parameters=[*scores.parameters, *parameters],
    )
    grown = made.ranked(grown, np.append(scores.values, np.linspace(1, 2, count)), parts)
    shape = (experts, 64, 32)
    found = [Parameter(name, shape) for row in parameters for name in row]
    return replace(plain, scores=grown, planned=len(grown), parameters=(*plain.parameters, *found))
