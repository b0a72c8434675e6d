"""The map of a running scan: what each cell holds while scores come in any order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectrum_tui.app.widgets.heat_matrix import Cell
from spectrum_tui.app.widgets.scan_matrix import ScanMatrix, Stage
from spectrum_tui.core.settings import METRIC
from spectrum_tui.worker.progress import LayerNames

TYPES = {"mlp.down_proj": 3, "mlp.up_proj": 2, "lm_head": 1}
LAYERS = (
    *(f"model.layers.{i}.mlp.down_proj" for i in range(3)),
    *(f"model.layers.{i}.mlp.up_proj" for i in (0, 2)),
    "lm_head",
)
EXPERTS = LayerNames(
    tuple(f"layers.{i}.mlp.experts.{n}.w1" for i in range(2) for n in range(3)),
    {"mlp.experts.*.w1": 6},
)


@pytest.fixture
def matrix() -> ScanMatrix:
    return ScanMatrix(LayerNames(LAYERS, TYPES), METRIC)


def shown(matrix: ScanMatrix, type_name: str) -> list[int]:
    matrix.recount()
    return list(matrix.stage[matrix.labels.index(type_name)].tolist())


def test_nothing_is_known_at_first(matrix: ScanMatrix) -> None:
    assert not matrix.stage.any() and not matrix.done.any()
    assert matrix.complete_types() == []
    row = matrix.labels.index("mlp.up_proj")
    assert matrix.cells[row].tolist() == [Cell.NO_SCORE, Cell.EMPTY, Cell.NO_SCORE, Cell.EMPTY]


def test_scores_failures_and_what_is_in_work(matrix: ScanMatrix) -> None:
    matrix.take([(LAYERS[0], 1.5), (LAYERS[1], math.nan)], [LAYERS[2]])
    assert shown(matrix, "mlp.down_proj") == [Stage.SCORED, Stage.FAILED, Stage.IN_WORK, 0]
    row = matrix.labels.index("mlp.down_proj")
    assert matrix.cells[row].tolist() == [Cell.VALUE, Cell.NO_SCORE, Cell.NO_SCORE, Cell.EMPTY]
    assert matrix.mean[row, 0] == 1.5
    assert matrix.done.tolist() == [True, True, False, False, False, False]


def test_what_is_put_back_waits_again(matrix: ScanMatrix) -> None:
    matrix.take([], LAYERS[:2])
    matrix.take([(LAYERS[0], 1.0)], [])
    assert shown(matrix, "mlp.down_proj")[:2] == [Stage.SCORED, Stage.WAITING]
    matrix.take([], [LAYERS[0]])  # scored again in float64
    assert shown(matrix, "mlp.down_proj")[0] == Stage.IN_WORK
    assert matrix.done[0]
    matrix.take([], [])
    assert shown(matrix, "mlp.down_proj")[0] == Stage.SCORED


def test_complete_types_with_their_best(matrix: ScanMatrix) -> None:
    matrix.take([(layer, i + 1.0) for i, layer in enumerate(LAYERS[:4])], [])
    assert matrix.complete_types() == [("mlp.down_proj", 2)]
    matrix.take([(LAYERS[4], math.nan), (LAYERS[5], math.nan), (LAYERS[1], math.inf)], [])
    assert matrix.complete_types() == [("mlp.down_proj", 1), ("mlp.up_proj", 3)]


def test_a_cell_of_experts_has_the_mean_of_those_that_came() -> None:
    matrix = ScanMatrix(EXPERTS, METRIC)
    matrix.take([(EXPERTS.layers[0], 1.0), (EXPERTS.layers[1], 2.0)], [EXPERTS.layers[3]])
    matrix.recount()
    assert matrix.map_shape == (1, 3)
    assert matrix.mean[0, 0] == 1.5
    assert matrix.stage[0].tolist() == [Stage.SCORED, Stage.IN_WORK, Stage.WAITING]


def test_one_matrix_of_a_fused_layer_is_its_layer(matrix: ScanMatrix) -> None:
    matrix.take([("not.planned", 1.0)], [f"{LAYERS[3]} [expert 7]", "neither"])
    assert np.flatnonzero(matrix.stages).tolist() == [3]


def test_the_block_of_a_layer_is_that_of_its_column() -> None:
    names = {
        "vision.layers.5.fc1": "vision:fc1",
        "encoder.layers.2.blocks.7.output.dense": "output.dense",
        "layers.3.mlp.experts.1.w1": "mlp.experts.*.w1",
        "lm_head": "lm_head",
    }
    matrix = ScanMatrix(LayerNames(tuple(names), dict.fromkeys(names.values(), 1)), METRIC)
    assert [matrix.block_of(row) for row in range(4)] == ["5", "7", "3", ""]
