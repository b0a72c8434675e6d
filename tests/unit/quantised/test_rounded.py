"""compressed-tensors, bitsandbytes and GPTQ decode to typed-again oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.core.errors import CheckpointError
from tests import quantisers as q
from tests.checkpoints import equal
from tests.quantised import INSTEAD, by_name, config, dequantised, of_layer, the_weight

# ---- compressed-tensors


def ct(form: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return config("compressed-tensors", format=form, config_groups=groups)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("index", [True, False])
def test_compressed_tensors_packed(tmp_path: Path, bits: int, symmetric: bool, index: bool) -> None:
    made = q.compressed_pack(bits, 6, 64, 16, bits=bits, symmetric=symmetric, index=index)
    entry = ct("pack-quantized", num_bits=bits, group_size=16)
    result = dequantised(tmp_path, of_layer(made.stored), entry)
    source = the_weight(result)
    assert equal(source.read(), q.rounded(made.values))
    assert source.row_aligned == (symmetric and not index)
    assert equal(source.read_rows(2, 3), source.read()[2:3])
    assert result.quantisation.banner == (
        "Stored as compressed-tensors: the scores are those of the rounded weights. For the"
        " model's own, scan the full-precision model that it was made from."
    )


@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors_packed_with_a_width_that_is_padded(
    tmp_path: Path, symmetric: bool
) -> None:
    made = q.compressed_pack(1, 7, 44, 16, symmetric=symmetric)
    entry = ct("pack-quantized", num_bits=4, group_size=16)
    source = the_weight(dequantised(tmp_path, of_layer(made.stored), entry))
    assert source.shape == (7, 44)
    assert equal(source.read(), q.rounded(made.values))


def test_compressed_tensors_index_that_says_in_order(tmp_path: Path) -> None:
    made = q.compressed_pack(1, 4, 32, 16)
    stored = made.stored | {"weight_g_idx": torch.full((32,), -1, dtype=torch.int32)}
    entry = ct("pack-quantized", num_bits=4, group_size=16)
    source = the_weight(dequantised(tmp_path, of_layer(stored), entry))
    assert equal(source.read(), q.rounded(made.values))


def test_compressed_tensors_of_two_widths(tmp_path: Path) -> None:
    four, eight = (q.compressed_pack(b, 4, 32, 32, bits=b) for b in (4, 8))
    groups = {f"g{b}": {"weights": {"num_bits": b, "group_size": 32}} for b in (4, 8)}
    entry = config("compressed-tensors", format="pack-quantized", config_groups=groups)
    stored = of_layer(four.stored, "a") | of_layer(eight.stored, "b")
    sources = by_name(dequantised(tmp_path, stored, entry))
    assert equal(sources["a.weight"].read(), q.rounded(four.values))
    assert equal(sources["b.weight"].read(), q.rounded(eight.values))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shape", [(6, 1), (6,), (1,), (6, 3)])
def test_compressed_tensors_integers(
    tmp_path: Path, shape: tuple[int, ...], symmetric: bool
) -> None:
    rng = np.random.default_rng(1)
    weight = rng.integers(-128, 128, (6, 24))
    zero = np.zeros(shape, np.int64) if symmetric else rng.integers(-128, 128, shape)
    scale = q.scales(2, *shape)
    stored = {"weight": torch.from_numpy(weight.astype(np.int8)), "weight_scale": scale}
    if not symmetric:
        stored["weight_zero_point"] = torch.from_numpy(zero.astype(np.int8))
    entry = ct("int-quantized", num_bits=8, group_size=8)
    source = the_weight(dequantised(tmp_path, of_layer(stored), entry))
    columns = np.arange(24) // 8 if shape == (6, 3) else np.zeros(24, np.int64)
    grid = shape if len(shape) == 2 else (-1, 1)
    scale_of, zero_of = (part.reshape(grid)[:, columns] for part in (scale.numpy(), zero))
    assert equal(source.read(), q.rounded((weight - zero_of).astype(np.float32) * scale_of))
    assert equal(source.read_rows(3, 4), source.read()[3:4])


@pytest.mark.parametrize("shape", [(6, 1), (1,)])
def test_compressed_tensors_fp8(tmp_path: Path, shape: tuple[int, ...]) -> None:
    weight, scale = q.fp8(1, 6, 10), q.scales(2, *shape)
    stored = of_layer({"weight": weight, "weight_scale": scale, "input_scale": torch.ones(1)})
    source = the_weight(
        dequantised(tmp_path, stored, ct("float-quantized", num_bits=8, type="float"))
    )
    block = (1, 10) if scale.numel() == 6 else (6, 10)
    wanted = q.rounded(q.blockwise(weight, scale.reshape(-1, 1), block))
    assert equal(source.read(), wanted)


def test_compressed_tensors_multiplies_in_the_type_of_its_scales(tmp_path: Path) -> None:
    """Rounded to float16 first, and only then to bfloat16."""
    weight, scale = q.fp8(1, 64, 64), q.scales(2, 64, 1).half()
    stored = of_layer({"weight": weight, "weight_scale": scale})
    source = the_weight(dequantised(tmp_path, stored, ct("float-quantized", num_bits=8)))
    product = q.blockwise(weight, scale.float(), (1, 64))
    wanted = q.rounded(product, torch.float16).to(torch.bfloat16)
    assert equal(source.read(), wanted)
    assert not equal(q.rounded(product), wanted)


# ---- bitsandbytes


@pytest.mark.parametrize(("book", "error"), [("nf4", 0.092), ("fp4", 0.123)])
@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_4bit(tmp_path: Path, book: str, error: float, nested: bool) -> None:
    weight = q.random(1, 130, 256)
    made = q.bnb_4bit(weight, book, nested=nested)
    result = dequantised(tmp_path, of_layer(made.stored), config("bitsandbytes", load_in_4bit=True))
    source = the_weight(result)
    assert equal(source.read(), q.rounded(made.values))
    # What the code books leave of a Gaussian: independent of how they are stored.
    off = source.read().astype(np.float32) - weight
    assert np.linalg.norm(off) / np.linalg.norm(weight) == pytest.approx(error, rel=0.03)
    assert result.quantisation.banner.startswith("Stored as 4-bit bitsandbytes: ")


def test_bitsandbytes_4bit_with_an_odd_count_and_another_storage(tmp_path: Path) -> None:
    made = q.bnb_4bit(q.random(1, 9, 15), "nf4", nested=True)
    source = the_weight(dequantised(tmp_path / "odd", of_layer(made.stored), {}))
    assert equal(source.read(), q.rounded(made.values))
    made = q.bnb_4bit(q.random(1, 8, 64), "nf4")
    stored = made.stored | {"weight": made.stored["weight"].view(-1).view(torch.bfloat16)}
    entry = config("bitsandbytes", load_in_4bit=True)
    source = the_weight(dequantised(tmp_path / "bf16", of_layer(stored), entry))
    assert equal(source.read(), q.rounded(made.values))


def test_bitsandbytes_int8(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).integers(-127, 128, (6, 10)).astype(np.int8)
    absmax = q.scales(2, 6)
    stored = {"weight": torch.from_numpy(weight), "SCB": absmax}
    stored["weight_format"] = torch.tensor(0, dtype=torch.uint8)
    entry = config("bitsandbytes", load_in_8bit=True)
    source = the_weight(dequantised(tmp_path, of_layer(stored), entry))
    wanted = weight.astype(np.float64) * absmax.numpy()[:, None] / 127
    assert equal(source.read(), q.rounded(wanted.astype(np.float32)))
    assert equal(source.read_rows(1, 3), source.read()[1:3])


# ---- GPTQ


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq(tmp_path: Path, bits: int, v2: bool, act_order: bool) -> None:
    made = q.gptq(bits, 64, 32, 16, bits, v2=v2, act_order=act_order)
    layout = {"checkpoint_format": "gptq_v2"} if v2 else {}
    entry = config("gptq", bits=bits, group_size=16, **layout)
    result = dequantised(tmp_path, of_layer(made.stored), entry, gptq=True)
    wanted = q.rounded(made.values, torch.float16).to(torch.bfloat16)
    assert equal(the_weight(result).read(), wanted)
    assert result.quantisation.banner.startswith(f"Stored as {bits}-bit GPTQ: ")


def test_gptq_without_an_index_and_with_one_group(tmp_path: Path) -> None:
    made = q.gptq(1, 64, 32, 64, 4, v2=False, act_order=False)
    stored = {leaf: tensor for leaf, tensor in made.stored.items() if leaf != "g_idx"}
    entry = config("gptq", bits=4, group_size=-1) | {"dtype": "float16"}
    source = the_weight(dequantised(tmp_path, of_layer(stored), entry, gptq=True))
    assert equal(source.read(), q.rounded(made.values, torch.float16))


def test_gptq_needs_the_flag(tmp_path: Path) -> None:
    made = q.gptq(1, 32, 32, 32, 4, v2=False, act_order=False)
    with pytest.raises(CheckpointError) as caught:
        dequantised(tmp_path, of_layer(made.stored), config("gptq", bits=4, group_size=32))
    assert caught.value.message == (
        "The weights are stored as 4-bit GPTQ: the scores would be those of the rounded weights."
    )
    assert (caught.value.hint, caught.value.field) == (INSTEAD, "model")


def test_gptq_with_an_index_that_points_outside(tmp_path: Path) -> None:
    made = q.gptq(1, 32, 32, 16, 4, v2=False, act_order=False)
    stored = made.stored | {"g_idx": torch.full((32,), 2, dtype=torch.int32)}
    entry = config("gptq", bits=4, group_size=16)
    (source,) = dequantised(tmp_path, of_layer(stored), entry, gptq=True).sources
    with pytest.raises(CheckpointError, match="A group index points outside of its 2 groups"):
        source.read()
