"""What a machine is measured with before a scan, and what of it is not worth to measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.scanning import speed
from spectrum_tui.core.scanning.speed import (
    MOST_COST,
    QUICK,
    Shape,
    capped,
    rate_of,
    seconds_per_cost,
    usual_shape,
    worker_rate,
)
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import EXACT, FAST, cost
from tests.checkpoints import llama, save
from tests.scans import layers_of


@pytest.fixture
def layers(tmp_path: Path) -> list[Layer]:
    return list(layers_of(read_checkpoint(save(tmp_path, llama(4, hidden=64, vocabulary=65_536)))))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Shape, str]]:
    """What was measured; a GPU is ten times as fast as the CPU, the second one as fast as two."""
    calls: list[tuple[str, Shape, str]] = []

    def measure(device: str, shape: Shape, precision: str) -> float:
        calls.append((device, shape, precision))
        return {"cpu": 1e-11, "cuda:0": 1e-12, "cuda:1": 5e-13}[device]

    monkeypatch.setattr(speed, "_measure", measure)
    monkeypatch.setattr(speed, "_measured", {})
    monkeypatch.setattr(speed, "cores", lambda: 4)
    return calls


def test_the_usual_shape_is_that_of_the_blocks(layers: list[Layer]) -> None:
    """The vocabulary is more work than all blocks, and there are two of it."""
    vocabulary = [layer for layer in layers if 65_536 in layer.shape]
    assert len(vocabulary) == 2
    rest = [layer for layer in layers if layer not in vocabulary]
    assert sum(x.cost for x in vocabulary) > sum(x.cost for x in rest)
    found = usual_shape(layers)
    assert found in {layer.shape for layer in rest}
    assert cost(*found) == max(layer.cost for layer in rest)
    assert usual_shape(vocabulary) == vocabulary[0].shape
    assert usual_shape([layer for layer in layers if layer.one_dimensional]) == QUICK
    row = replace(vocabulary[0], shape=(1, 64), rows=1, columns=64)
    assert usual_shape([row] * 5) == QUICK
    experts = [replace(vocabulary[0], matrix_count=128, rows=300, columns=200)]
    assert usual_shape([*layers, *experts]) == (300, 200)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 10**9), (512, 512), (4096, 14336), (14336, 4096), (151936, 1024),
              (16384, 53248)],
)  # fmt: skip
def test_no_more_than_half_a_second_is_measured(shape: Shape) -> None:
    rows, columns = capped(shape)
    assert cost(rows, columns) <= MOST_COST
    assert (rows < columns) == (shape[0] < shape[1])
    if cost(*shape) > MOST_COST:
        assert cost(rows, columns) > 0.9 * MOST_COST
        assert min(rows, columns) == min(shape) or max(rows, columns) < 1.2 * min(rows, columns)
    else:
        assert (rows, columns) == shape


def test_devices_add_up_and_are_measured_once(measured: list[tuple[str, Shape, str]]) -> None:
    assert rate_of(("cuda:0", "cuda:1")) == pytest.approx(1 / 3e12)
    assert rate_of(("cuda:0",), QUICK, FAST) == 1e-12
    assert seconds_per_cost("mps") == seconds_per_cost("cpu") == 1e-11
    assert measured == [
        ("cuda:0", QUICK, EXACT), ("cuda:1", QUICK, EXACT), ("cuda:0", QUICK, FAST),
        ("cpu", QUICK, EXACT),
    ]  # fmt: skip


def test_a_short_scan_measures_nothing(
    layers: list[Layer], measured: list[tuple[str, Shape, str]]
) -> None:
    """At 2e-11 s per unit on 4 cores: 1 s, 10 s, 100 s."""
    rates = [worker_rate(layers, work, ("cpu",), 4, EXACT) for work in (2e11, 2e12, 2e13)]
    assert rates == [0.0, 4e-11, 4e-11]
    assert measured == [("cpu", QUICK, EXACT), ("cpu", usual_shape(layers), EXACT)]
    assert worker_rate(layers, 2e13, ("cuda:0", "cuda:1"), 8, EXACT) == pytest.approx(16 / 3e12)


def test_what_cannot_be_measured_is_not_known(
    layers: list[Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: str, shape: Shape, precision: str) -> float:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(speed, "_measured", {})
    monkeypatch.setattr(speed, "_measure", fail)
    assert worker_rate(layers, 1e15, ("cuda:0",), 8, EXACT) == 0.0


@pytest.mark.parametrize("precision", [EXACT, FAST])
def test_a_matrix_of_that_shape_is_computed(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, str, str]] = []
    real = svd.gram_singular_values

    def spy(matrix: svd.StoredMatrix, device: str, precision: str) -> object:
        seen.append((matrix.rows, matrix.columns, device, precision))
        return real(matrix, device, precision)

    monkeypatch.setattr(svd, "gram_singular_values", spy)
    assert 1e-14 < speed._measure("cpu", (90, 40), precision) < 1e-5
    assert set(seen) == {(90, 40, "cpu", precision)}
    assert len(seen) == 1 + speed.RUNS


def test_what_fails_in_a_thread_fails_here() -> None:
    def work() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        speed._seconds(work, "cpu", 2)
