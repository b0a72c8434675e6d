"""FP8 and MXFP4 decode to what transformers loads, and to the values of the standards."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.plan import plan_parameters
from spectrum_tui.core.quantised.dequantise import Dequantised
from tests import quantisers as q
from tests.checkpoints import Tensors, equal
from tests.quantised import LAYER, by_name, config, dequantised, of_layer, the_weight

# ---- transformers' own dequantisation


@pytest.fixture
def _accelerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks for accelerate before it dequantises, and does not use it for that."""
    for module in ("quantizer_finegrained_fp8", "quantizer_mxfp4"):
        name = f"transformers.quantizers.{module}.is_accelerate_available"
        monkeypatch.setattr(name, lambda *_: True)


def made_model(folder: Path, cfg: Any) -> tuple[Tensors, dict[str, Any]]:
    """A model of transformers as it saves it: tensors and config."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(cfg).to(torch.bfloat16)
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())


def loaded(folder: Path) -> Tensors:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 64,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "tie_word_embeddings": False,
}  # fmt: skip


def to_fp8(tensors: Tensors, block: int) -> Tensors:
    """The projections in FP8 blocks, as DeepSeek and Qwen publish theirs."""
    made: Tensors = {}
    for seed, (name, tensor) in enumerate(tensors.items()):
        made[name] = tensor
        if name.endswith("proj.weight"):
            rows, columns = tensor.shape
            made[name] = q.fp8(seed, rows, columns)
            made[f"{name}_scale_inv"] = q.scales(seed, -(-rows // block), -(-columns // block))
    return made


@pytest.fixture
def _fp8_loads() -> None:
    """Skips where an older transformers decodes FP8 by a GPU's compiler alone."""
    try:
        importlib.import_module("transformers.integrations.finegrained_fp8")
    except ModuleNotFoundError:
        if int(transformers.__version__.split(".")[1]) >= 23:
            raise
        pytest.skip(f"transformers {transformers.__version__} needs triton for FP8")


@pytest.mark.usefixtures("_accelerated", "_fp8_loads")
def test_fp8_dense_is_what_transformers_loads(tmp_path: Path) -> None:
    tensors, cfg = made_model(tmp_path / "made", transformers.Qwen3Config(**SMALL))
    entry = config("fp8", weight_block_size=[16, 16], activation_scheme="dynamic")
    result = dequantised(tmp_path / "fp8", to_fp8(tensors, 16), cfg | entry)
    wanted = loaded(tmp_path / "fp8")
    assert result.quantisation.method == "fp8"
    assert not result.quantisation.banner
    assert set(by_name(result)) == set(wanted)
    assert_plan_is(tmp_path / "fp8", result, wanted)


@pytest.mark.usefixtures("_accelerated", "_fp8_loads")
def test_fp8_experts_are_what_transformers_loads(tmp_path: Path) -> None:
    cfg = transformers.Qwen3MoeConfig(
        **SMALL, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=16
    )
    tensors, saved = made_model(tmp_path / "made", cfg)
    entry = config("fp8", weight_block_size=[8, 8], activation_scheme="dynamic")
    result = dequantised(tmp_path / "fp8", to_fp8(tensors, 8), saved | entry)
    wanted = loaded(tmp_path / "fp8")
    assert_plan_is(tmp_path / "fp8", result, wanted)
    expert = by_name(result)["model.layers.0.mlp.experts.2.down_proj.weight"]
    assert equal(expert.read(), wanted["model.layers.0.mlp.experts.down_proj"][2])


def assert_plan_is(folder: Path, result: Dequantised, wanted: Tensors) -> None:
    """The plan made of the sources has the model's parameters, each expert on its own too."""
    plan = plan_parameters(read_checkpoint(folder), sources=result.sources)
    assert plan.naming == "transformers"
    assert [parameter.name for parameter in plan.parameters] == list(wanted)
    assert not plan.unexpected
    for parameter in plan.parameters:
        values = plan.values[parameter.name]
        assert equal(values.read(), wanted[parameter.name]), parameter.name
        assert not parameter.problem
        for expert in range(parameter.experts):
            assert values.can_read_expert()
            slice_ = values.read_expert(expert)
            assert equal(slice_, wanted[parameter.name][expert]), parameter.name


def gpt_oss(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    cfg = transformers.GptOssConfig(
        **SMALL | {"intermediate_size": 64},
        num_local_experts=3,
        num_experts_per_tok=2,
        layer_types=["full_attention"],
    )
    tensors, saved = made_model(folder, cfg)
    rng = np.random.default_rng(0)
    for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        groups = inputs // 32
        packed = rng.integers(0, 256, (experts, outputs, groups, 16), np.uint8)
        power = rng.integers(112, 124, (experts, outputs, groups), np.uint8)
        tensors[f"{name}_blocks"] = torch.from_numpy(packed)
        tensors[f"{name}_scales"] = torch.from_numpy(power)
    return tensors, saved


@pytest.mark.usefixtures("_accelerated")
def test_mxfp4_is_what_transformers_loads(tmp_path: Path) -> None:
    tensors, saved = gpt_oss(tmp_path / "made")
    result = dequantised(tmp_path / "mxfp4", tensors, saved | config("mxfp4"))
    wanted = loaded(tmp_path / "mxfp4")
    assert result.quantisation.method == "mxfp4"
    assert set(by_name(result)) == set(wanted)
    assert_plan_is(tmp_path / "mxfp4", result, wanted)


def test_mxfp4_by_the_values_of_the_standard(tmp_path: Path) -> None:
    tensors, saved = gpt_oss(tmp_path / "made")
    sources = by_name(dequantised(tmp_path / "mxfp4", tensors, saved | config("mxfp4")))
    name = "model.layers.0.mlp.experts.down_proj"
    packed, power = tensors[f"{name}_blocks"].numpy(), tensors[f"{name}_scales"].numpy()
    for expert in range(3):
        values = q.fp4_bytes(packed[expert].reshape(32, -1)).reshape(32, 2, 32)
        values *= 2.0 ** (power[expert].astype(np.float32) - 127)[:, :, None]
        wanted = q.rounded(values.reshape(32, 64).T)
        assert equal(sources[name].read()[expert], wanted)


# ---- FP8


@pytest.mark.parametrize(
    ("rows", "columns", "block"), [(24, 40, 16), (40, 24, 16), (36, 36, 8), (5, 7, 128)]
)
def test_fp8_with_the_last_block_cut_short(
    tmp_path: Path, rows: int, columns: int, block: int
) -> None:
    weight = q.fp8(1, rows, columns)
    scale = q.scales(2, -(-rows // block), -(-columns // block))
    entry = config("fp8", weight_block_size=[block, block])
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    source = the_weight(dequantised(tmp_path, stored, entry))
    wanted = q.rounded(q.blockwise(weight, scale, (block, block)))
    assert equal(source.read(), wanted)
    assert not source.row_aligned
    assert equal(source.read_rows(1, 4), wanted[1:4])


def test_fp8_without_a_block_size_in_the_config_takes_a_power_of_two(tmp_path: Path) -> None:
    weight, scale = q.fp8(1, 24, 40), q.scales(2, 2, 3)
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    source = the_weight(dequantised(tmp_path, stored, config("fp8")))
    assert equal(source.read(), q.rounded(q.blockwise(weight, scale, (16, 16))))


@pytest.mark.parametrize(
    ("leaf", "shape", "block"),
    [
        ("weight_scale_inv", (), (12, 10)),
        ("weight_scale", (1,), (12, 10)),
        ("weight_scale", (12,), (1, 10)),
        ("scale", (12, 1), (1, 10)),
        ("qscale_weight", (1, 1), (12, 10)),
    ],
)
def test_fp8_scales_by_their_other_names_and_shapes(
    tmp_path: Path, leaf: str, shape: tuple[int, ...], block: tuple[int, int]
) -> None:
    weight, scale = q.fp8(3, 12, 10), q.scales(4, *shape)
    result = dequantised(tmp_path, of_layer({"weight": weight, leaf: scale}), config("fp8"))
    source = the_weight(result)
    grid = scale.reshape(-1, 1)
    assert equal(source.read(), q.rounded(q.blockwise(weight, grid, block)))
    assert equal(source.read_rows(2, 3), source.read()[2:3])
    assert source.row_aligned == (scale.numel() == 12)


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.skipif(not hasattr(torch, "float8_e8m0fnu"), reason="torch before 2.7")
def test_fp8_with_scales_that_are_powers_of_two(tmp_path: Path, as_bytes: bool) -> None:
    weight, power = q.fp8(5, 8, 64), torch.tensor([[118, 119]] * 8, dtype=torch.uint8)
    scale = power if as_bytes else power.view(torch.float8_e8m0fnu)
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    source = the_weight(dequantised(tmp_path, stored, config("mxfp8")))
    factor = torch.from_numpy(2.0 ** (power.numpy().astype(np.float32) - 127))
    assert equal(source.read(), q.rounded(q.blockwise(weight, factor, (1, 32))))


def test_fp4_in_bytes_beside_fp8(tmp_path: Path) -> None:
    """As DeepSeek stores experts: groups of 32 there, blocks of 128 elsewhere."""
    packed = np.random.default_rng(0).integers(0, 256, (6, 32), np.uint8)
    power = torch.full((6, 2), 120, dtype=torch.uint8)
    expert = {"weight": torch.from_numpy(packed).view(torch.int8), "scale": power}
    weight, scale = q.fp8(1, 6, 7), q.scales(1, 1, 1)
    stored = of_layer(expert, "e") | of_layer({"weight": weight, "scale": scale}, "d")
    entry = config("fp8", weight_block_size=[128, 128])
    sources = by_name(dequantised(tmp_path, stored, entry))
    assert sources["e.weight"].shape == (6, 64)
    assert equal(sources["e.weight"].read(), q.rounded(q.fp4_bytes(packed)) / 128)
    wanted = q.rounded(q.blockwise(weight, scale, (128, 128)))
    assert equal(sources["d.weight"].read(), wanted)


@pytest.mark.parametrize("per_expert", [(2, 3), (1, 1), ()])
def test_fused_fp8_experts_one_at_a_time(tmp_path: Path, per_expert: tuple[int, ...]) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    weight, scale = q.fp8(1, 3, 24, 40), q.scales(2, 3, *per_expert)
    entry = config("fp8", weight_block_size=[16, 16] if per_expert == (2, 3) else None)
    (source,) = dequantised(tmp_path, {name: weight, f"{name}_scale_inv": scale}, entry).sources
    assert (source.name, source.shape, source.row_aligned) == (name, (3, 24, 40), True)
    for expert in range(3):
        block = (16, 16) if per_expert == (2, 3) else (24, 40)
        grid = scale[expert].reshape(per_expert or (1, 1))
        wanted = q.rounded(q.blockwise(weight[expert], grid, block))
        assert equal(source.read_rows(expert, expert + 1)[0], wanted)
        assert equal(source.read()[expert], wanted)


@pytest.mark.parametrize(
    ("named", "dtype"), [("float32", "F32"), ("float16", "F16"), ("torch.bfloat16", "BF16")]
)
def test_values_are_rounded_to_the_type_of_the_config(
    tmp_path: Path, named: str, dtype: str
) -> None:
    weight, scale = q.fp8(3, 12, 10), q.scales(4, 1, 1)
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    entry = {"quantization_config": {"quant_method": "fp8"}, "torch_dtype": named}
    (source,) = dequantised(tmp_path, stored, entry).sources
    wanted = q.rounded(
        q.blockwise(weight, scale, (12, 10)), getattr(torch, named.rsplit(".", maxsplit=1)[-1])
    )
    assert source.dtype == dtype
    assert equal(source.read(), wanted)


def test_scales_of_activations_and_caches_are_dropped(tmp_path: Path) -> None:
    one = torch.ones(1)
    stored = of_layer(
        {"weight": q.fp8(1, 4, 4), "weight_scale_inv": one, "activation_scale": one}
    ) | {"model.layers.0.self_attn.k_scale": one, "model.norm.weight": torch.ones(4)}
    result = dequantised(tmp_path, stored, config("fp8"))
    assert set(by_name(result)) == {f"{LAYER}.weight", "model.norm.weight"}
    assert set(result.dropped) == {
        f"{LAYER}.activation_scale", "model.layers.0.self_attn.k_scale",
    }  # fmt: skip


def test_fp8_without_scales_is_taken_as_it_stands(tmp_path: Path) -> None:
    weight = q.fp8(1, 4, 6)
    result = dequantised(tmp_path, of_layer({"weight": weight}), {"dtype": "bfloat16"})
    assert equal(the_weight(result).read(), weight.to(torch.bfloat16))
    assert result.quantisation.banner.startswith("Stored as FP8 without scales: ")
