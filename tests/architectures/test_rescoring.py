"""A model in memory is scored as its files are: same layers, same types, same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.settings import METRICS
from spectrum_tui.core.training.rescoring import Rescorer, live_layers
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import TinyModels
from tests.architectures.test_scans import scanned
from tests.architectures.tiny import ARCHITECTURES

DIFFERENT = (
    *("llama_tied", "qwen2", "gpt2", "mamba2", "mixtral", "gpt_oss", "granitemoe", "llama4_text"),
    *("jamba", "qwen3_5_moe", "internvl", "clip"),
)
"""Tied, with biases, transposed, with convolutions; experts fused in four ways; with towers."""


@pytest.mark.parametrize("name", DIFFERENT)
def test_scores_in_memory_are_those_of_a_scan(name: str, tiny: TinyModels, tmp_path: Path) -> None:
    folder = tiny.folder(name, "published")
    scan = scanned(folder, tmp_path / "out")
    model, _ = load_as_a_trainer(folder, ARCHITECTURES[name].model)
    matrices = {p.name for p in scan.parameters if len(p.shape) > 1}
    rows = [row for row, names in enumerate(scan.scores.parameters) if names[0] in matrices]
    types = {scan.scores.layers[row]: scan.scores.type_ids[row] for row in rows}
    for metric in METRICS:
        now = Rescorer(live_layers(model), metric, "x").result().scores
        wanted = scan.with_metric(metric).scores
        assert set(now.layers) == set(types)
        assert [now.type_names[i] for i in now.type_ids] == [
            scan.scores.type_names[types[layer]] for layer in now.layers
        ]
        at = [wanted.layers.index(layer) for layer in now.layers]
        assert [now.problems.keys()] == [{i for i, row in enumerate(at) if row in wanted.problems}]
        np.testing.assert_allclose(now.values, wanted.values[at], rtol=1e-9)
        assert now.parameters == [tuple(wanted.parameters[row]) for row in at]
