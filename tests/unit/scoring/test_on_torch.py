"""The device of torch on the CPU, the way of blocks to a GPU, and products that are not rounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.parameters import Window, plain_source
from spectrum_tui.core.scanning.devices import full_float32
from spectrum_tui.core.scoring import on_torch, pinned, rounding, svd
from spectrum_tui.core.scoring.on_torch import Torch
from spectrum_tui.core.scoring.pinned import BUFFERS, Copies
from tests import oracle
from tests.checkpoints import matrix, save

TYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


class Later:
    """A copy that happens when it is waited for, at the latest."""

    def __init__(self, pending: list[list[tuple[torch.Tensor, torch.Tensor]]]) -> None:
        self._all = pending
        self._mine: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.recorded = self.waited = 0

    def record(self) -> None:
        self.recorded += 1
        self._mine, self._all[:] = [pair for one in self._all for pair in one], []

    def synchronize(self) -> None:
        self.waited += 1
        for target, held in self._mine:
            target[...] = held
        self._mine = []


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Later]]:
    """The events of a device whose copies end as late as they may."""
    pending: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
    events: list[Later] = []
    real = torch.Tensor.copy_

    def copy(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if not non_blocking:
            return real(self, source)
        pending.append([(self, source)])
        return self

    def event() -> Later:
        events.append(Later(pending))
        return events[-1]

    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    monkeypatch.setattr(pinned, "BUFFER_BYTES", 256)
    monkeypatch.setattr(pinned, "_copies_to", lambda device: Copies("cpu", pin=False, event=event))
    monkeypatch.setattr(pinned, "_of_thread", pinned._OfThread())
    yield events
    for one in events:
        one.synchronize()


def sent(block: torch.Tensor, events: list[Later]) -> torch.Tensor:
    found = pinned.on_device(block, "cuda:0")
    for event in events:
        event.synchronize()
    return found


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_block_arrives_through_two_small_buffers(dtype: torch.dtype, later: list[Later]) -> None:
    block = matrix("block", 50, 12, dtype=dtype)
    found = sent(block, later)
    assert torch.equal(found, block)
    assert found.dtype == dtype
    assert len(later) == BUFFERS
    rows = 256 // (12 * block.element_size())
    assert sum(event.recorded for event in later) == -(-50 // rows)
    assert abs(later[0].recorded - later[1].recorded) <= 1


def test_columns_of_a_wide_matrix_go_row_by_row(later: list[Later]) -> None:
    """As they are stored: what arrives is a view of it."""
    whole = matrix("wide", 9, 400)
    block = whole.T[100:140]
    found = sent(block, later)
    assert torch.equal(found, block)
    assert found.stride(0) == 1


def test_rows_larger_than_a_buffer_and_blocks_of_nothing(later: list[Later]) -> None:
    for shape in ((3, 500), (1, 500), (500, 1), (1, 1)):
        block = matrix(f"{shape}", *shape)
        assert torch.equal(sent(block, later), block)


def test_a_buffer_is_filled_again_when_its_copy_has_ended(later: list[Later]) -> None:
    blocks = [matrix(f"block {i}", 5, 12, dtype=torch.float32) for i in range(7)]
    found = [pinned.on_device(block, "cuda:0") for block in blocks]
    for event in later:
        event.synchronize()
    for block, there in zip(blocks, found, strict=True):
        assert torch.equal(block, there)


def test_where_nothing_can_be_pinned_torch_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*size: object, **options: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(pinned, "_of_thread", pinned._OfThread())
    monkeypatch.setattr(torch, "empty", refuse)
    block = matrix("block", 5, 12)
    assert pinned.on_device(block, "cpu") is block


# -- scores -----------------------------------------------------------------------------------


def window(folder: Path, tensor: torch.Tensor) -> Window:
    (stored,) = read_checkpoint(save(folder, {"w.weight": tensor})).tensors
    return Window(plain_source(stored), 0, tensor.shape[1])


class Gpu(Torch):
    """A GPU as far as blocks and types go; its memory is the CPU's."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("cuda:0")
        self._device = "cpu"


@pytest.mark.parametrize("device", [Torch("cpu"), Gpu()], ids=["cpu", "gpu"])
@pytest.mark.parametrize("precision", [svd.EXACT, svd.FAST])
@pytest.mark.parametrize("shape", [(700, 90), (90, 700), (130, 130), (600, 530)], ids=str)
def test_torch_scores_as_numpy_does(
    shape: tuple[int, int],
    precision: str,
    device: Torch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensor = matrix(f"{shape}", *shape)
    values = window(tmp_path, tensor)
    monkeypatch.setattr(svd, "device_of", lambda name: device)
    found = svd.singular_values(values, *shape, "cuda:0", precision)
    true = oracle.singular_values(oracle.as_matrix(tensor))
    tolerance = 1e-9 if precision == svd.EXACT else 1e-3
    np.testing.assert_allclose(found.values[:20], true[:20], rtol=tolerance)
    np.testing.assert_allclose(
        svd.qr_singular_values(svd.StoredMatrix(values, *shape), "cuda:0"),
        true,
        rtol=1e-9,
        atol=1e-12,
    )


def test_on_a_gpu_a_block_is_as_large_as_many_of_the_cpu(tmp_path: Path) -> None:
    stored = svd.StoredMatrix(window(tmp_path, matrix("tall", 40_000, 64)), 40_000, 64)
    assert len(list(stored.blocks())) == 5
    assert len(list(stored.blocks(chunks=Torch("cuda:0").chunks))) == 1


def test_sums_of_float32_are_solved_in_float64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a solver in float32 is off by has no bound that is known."""
    solved: list[torch.dtype] = []
    real = torch.linalg.eigvalsh

    def spy(matrix: torch.Tensor, UPLO: str) -> torch.Tensor:  # noqa: N803
        solved.append(matrix.dtype)
        found: torch.Tensor = real(matrix, UPLO=UPLO)
        return found

    monkeypatch.setattr(torch.linalg, "eigvalsh", spy)
    stored = svd.StoredMatrix(window(tmp_path, matrix("w", 90, 70)), 90, 70)
    gram = svd._gram(stored, Torch("cpu"), svd.FAST)
    assert isinstance(gram, on_torch.TorchGram)
    assert gram._sums.dtype == torch.float32
    assert gram.eigenvalues() is not None
    assert solved == [torch.float64]


def test_products_that_are_rounded_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_torch, "rounds_products", lambda device: True)
    assert not Torch("cuda:0").takes_float32(4096)
    assert Torch("cpu").takes_float32(4096)


def test_rounding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rounding.rounds_products.cache_clear()
    assert not rounding.rounds_products("cpu")
    rounding.rounds_products.cache_clear()
    real = torch.full

    def tf32(*arguments: object, **options: object) -> torch.Tensor:
        """Numbers of 10 bits behind the point, as its products take them."""
        made = real(*arguments, **options)  # type: ignore[call-overload]
        rounded: torch.Tensor = (made.view(torch.int32) & ~0x1FFF).view(torch.float32)
        return rounded

    monkeypatch.setattr(torch, "full", tf32)
    assert rounding.rounds_products("cpu")
    rounding.rounds_products.cache_clear()


def set_precision() -> tuple[str, str, str]:
    """What torch was told of its products: of all libraries, of CUDA's, of the CPU's."""
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:
        legacy = "mixed"
    matmuls: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    first, second = (str(matmul.fp32_precision) for matmul in matmuls)
    return legacy, first, second


@pytest.fixture
def precision_as_it_was() -> Iterator[None]:
    with rounding.full_float32():
        yield


@pytest.mark.parametrize("newer", ["", "tf32", "ieee"])
@pytest.mark.parametrize("legacy", ["highest", "high", "medium"])
@pytest.mark.usefixtures("precision_as_it_was")
def test_products_are_in_float32_whatever_torch_was_told(legacy: str, newer: str) -> None:
    torch.set_float32_matmul_precision(legacy)
    if newer:
        torch.backends.cuda.matmul.fp32_precision = newer
    before = set_precision()
    with full_float32(["cpu"]):
        assert set_precision() == before
    with pytest.raises(KeyError), full_float32(["cuda:0"]):
        assert set_precision() == ("highest", "ieee", "ieee")
        raise KeyError
    assert set_precision() == before
