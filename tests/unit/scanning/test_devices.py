"""What a scan may use of a machine: its devices, their memory, and how many matrices fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.platforms import cores, half_of_memory
from spectrum_tui.core.scanning import devices
from spectrum_tui.core.scanning.devices import (
    SHARE,
    choose_devices,
    free_memory,
    is_out_of_memory,
    pick_devices,
)
from spectrum_tui.core.scanning.layers import held_bytes, how_many_fit, memory_need
from spectrum_tui.core.scanning.plan import auto_batch_size, make_plan
from spectrum_tui.core.scoring import svd
from tests.checkpoints import experts, llama, save
from tests.scans import is_matrix, layers_of


def test_every_gpu_is_meant_by_auto_and_by_cuda() -> None:
    available = ("cpu", "cuda:0", "cuda:1")
    assert pick_devices("auto", available) == ("cuda:0", "cuda:1")
    assert pick_devices("CUDA", available) == ("cuda:0", "cuda:1")
    assert pick_devices("cuda:1", available) == ("cuda:1",)
    assert pick_devices("cpu", available) == ("cpu",)
    assert pick_devices("auto", ("cpu", "mps")) == ("cpu",)
    with pytest.raises(InputError, match="'cuda'"):
        pick_devices("cuda", ("cpu",))


def test_devices() -> None:
    assert choose_devices("cpu") == (("cpu",), ())
    assert choose_devices(" CPU ") == (("cpu",), ())
    assert set(choose_devices("auto")[0]) <= set(devices.available_devices())
    assert choose_devices("")[0] == choose_devices("auto")[0]
    for unknown in ("cuda:99", "tpu", "cuda:x", "gpu"):
        with pytest.raises(InputError, match=unknown) as caught:
            choose_devices(unknown)
        assert "cpu" in caught.value.hint
        assert caught.value.field == "device"


def test_mps_has_no_float64_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ("cpu", "mps"))
    chosen, (note,) = choose_devices("mps")
    assert chosen == ("cpu",)
    assert "float64" in note


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory"),
    ],
    ids=lambda e: str(e)[:30],
)
def test_what_running_out_of_memory_looks_like(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_real_allocators_say_so() -> None:
    """2^60 bytes, which no machine has."""
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    with pytest.raises(MemoryError) as numpy_refused:
        np.empty(2**60, np.uint8)
    assert is_out_of_memory(numpy_refused.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError(""),
        ValueError("out of memory"),
        OSError("No space left on device"),
    ],
    ids=repr,
)
def test_what_does_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_this_machine() -> None:
    assert cores() >= 1
    assert 2**20 < free_memory("cpu") < 2**50


def test_free_memory_is_half_of_the_machine_where_the_system_does_not_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "known_free", lambda: 6_000)
    assert free_memory("cpu") == 6_000
    monkeypatch.setattr(devices, "known_free", lambda: None)
    assert free_memory("cpu") == half_of_memory() > 2**20


@pytest.fixture
def layers(tmp_path: Path) -> list[Layer]:
    folder = save(tmp_path / "m", {**llama(2, hidden=128, vocabulary=512), **experts(0)})
    return [layer for layer in layers_of(read_checkpoint(folder)) if is_matrix(layer)]


def test_the_largest_decide_how_many_fit(layers: list[Layer]) -> None:
    needs = sorted((memory_need(layer) for layer in layers), reverse=True)
    assert needs[0] > needs[-1]
    assert how_many_fit(layers, 1e12, 8) == 8
    assert how_many_fit(layers, sum(needs[:3]), 8) == 3
    assert how_many_fit(layers, sum(needs[:3]) - 1, 8) == 2
    assert how_many_fit(layers, 0, 8) == 1
    assert how_many_fit(layers[:1], 1e12, 8) == 8  # fewer matrices than cores: no reason to say
    assert how_many_fit([], 0, 8) == 8


def test_a_very_wide_matrix_needs_no_more_than_a_strip(layers: list[Layer]) -> None:
    wide = next(layer for layer in layers if layer.type == "mlp.down_proj")
    row = replace(wide, shape=(1, 2**33), rows=1, columns=2**33, nbytes=2**34, numel=2**33)
    assert held_bytes(row) == 2 * svd.STRIP_ELEMENTS == 2**25
    assert memory_need(row) < 2**26


def test_a_wide_matrix_needs_what_a_tall_one_does(layers: list[Layer]) -> None:
    by_type = {layer.type: layer for layer in layers}
    tall, wide = by_type["mlp.up_proj"], by_type["mlp.down_proj"]
    assert (tall.rows, tall.columns) == (wide.columns, wide.rows)
    assert held_bytes(wide) == held_bytes(tall) == wide.nbytes  # less than a strip
    assert memory_need(wide) == memory_need(tall)


def test_the_batch_is_what_memory_allows(
    layers: list[Layer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 8)
    needs = sorted((memory_need(layer) for layer in layers), reverse=True)

    def with_free(free: float) -> tuple[int, tuple[str, ...]]:
        monkeypatch.setattr("spectrum_tui.core.scanning.plan.free_memory", lambda device: int(free))
        return auto_batch_size(layers, ("cpu",))

    assert with_free(1e12) == (8, ())
    batch, (note,) = with_free(sum(needs[:3]) / SHARE + 8)
    assert batch == 3
    assert note.startswith("3 at a time instead of 8")
    plan = make_plan(read_checkpoint(tmp_path / "m"), layers, device="cpu")
    assert plan.batch_size == 3
    assert plan.notes == (note,)
    assert (
        make_plan(read_checkpoint(tmp_path / "m"), layers, device="cpu", batch_size=7).notes == ()
    )
