"""One weight is read and decoded at a time, in pieces, and nothing else."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from spectrum_tui.core.checkpoint import sources
from spectrum_tui.core.quantised import kernels
from tests import quantisers as q
from tests.checkpoints import Tensors, equal
from tests.quantised import by_name, config, dequantised, of_layer, the_weight


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The bytes of every read of tensor data."""
    made: list[int] = []
    real = sources._filled

    def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        made.append(len(buffer))
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", filled)
    yield made


def test_only_the_parts_of_one_weight_are_read(tmp_path: Path, reads: list[int]) -> None:
    name = "model.layers.0.mlp.experts.down_proj"
    stored: Tensors = {
        f"{name}_blocks": torch.ones(3, 32, 2, 16, dtype=torch.uint8),
        f"{name}_scales": torch.full((3, 32, 2), 127, dtype=torch.uint8),
        "model.norm.weight": torch.ones(32),
    }
    source = by_name(dequantised(tmp_path, stored, config("mxfp4")))[name]
    assert reads == []
    source.read_rows(1, 2)
    assert sum(reads) == source.nbytes // 3
    reads.clear()
    source.read()
    assert sum(reads) == source.nbytes


@pytest.mark.parametrize("form", ["fp8", "ct", "gptq", "bnb4", "bnb8", "mxfp4"])
def test_nothing_as_large_as_the_weight_is_made_but_the_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Widened to float32 in pieces: an index of int64 alone would be four times the result."""
    monkeypatch.setattr(kernels, "PIECE", 1024)
    rows, columns = 256, 512
    blocks = torch.ones(1, columns, rows // 32, 16, dtype=torch.uint8)
    int8 = torch.ones(rows, columns, dtype=torch.int8)
    makers: dict[str, Callable[[], Tensors]] = {
        "fp8": lambda: {"weight": q.fp8(1, rows, columns), "weight_scale_inv": q.scales(1, 2, 4)},
        "ct": lambda: q.compressed_pack(1, rows, columns, 128).stored,
        "gptq": lambda: q.gptq(1, columns, rows, 128, 4, v2=False, act_order=True).stored,
        "bnb4": lambda: q.bnb_4bit(q.random(1, rows, columns), "nf4", nested=True).stored,
        "bnb8": lambda: {"weight": int8, "SCB": torch.ones(rows)},
        "mxfp4": lambda: {"weight_blocks": blocks, "weight_scales": blocks[..., 0].clone()},
    }
    entry = config("gptq", bits=4, group_size=128) if form == "gptq" else None
    (source,) = dequantised(tmp_path, of_layer(makers[form]()), entry, gptq=True).sources
    assert source.decode is not None
    source.read()  # tables are made once
    tracemalloc.start()
    try:
        source.read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    result = rows * columns * 2
    assert peak >= result + source.nbytes  # numpy tells what it takes
    assert peak - result - source.nbytes <= 1024 * 8 * 4 * 2


def test_a_weight_in_many_pieces_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PIECE", 128)
    weight, scale = q.fp8(1, 40, 24), q.scales(2, 3, 2)
    entry = config("fp8", weight_block_size=[16, 16])
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    source = the_weight(dequantised(tmp_path / "fp8", stored, entry))
    assert equal(source.read(), q.rounded(q.blockwise(weight, scale, (16, 16))))
    made = q.gptq(1, 64, 32, 16, 2, v2=False, act_order=True)
    entry = config("gptq", bits=2, group_size=16) | {"dtype": "float16"}
    source = the_weight(dequantised(tmp_path / "gptq", of_layer(made.stored), entry, gptq=True))
    assert equal(source.read(), q.rounded(made.values, torch.float16))
    made = q.bnb_4bit(q.random(1, 31, 41), "fp4", nested=True)
    source = the_weight(dequantised(tmp_path / "bnb", of_layer(made.stored)))
    assert equal(source.read(), q.rounded(made.values))
    made = q.compressed_pack(1, 37, 64, 16, symmetric=False, index=True)
    source = the_weight(dequantised(tmp_path / "ct", of_layer(made.stored)))
    assert equal(source.read(), q.rounded(made.values))
