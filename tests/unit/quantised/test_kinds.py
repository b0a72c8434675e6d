"""Which quantisation a checkpoint has, what is refused, and what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import Tensor, read_checkpoint
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.quantised.dequantise import dequantise
from spectrum_tui.core.quantised.detect import NOT_QUANTISED, Quantisation, detect
from tests import quantisers as q
from tests.checkpoints import Tensors, equal, llama, save
from tests.quantised import INSTEAD, LAYER, config, dequantised, of_layer, the_weight

# ---- which quantisation

AWQ = (
    "The weights are stored as AWQ, which rescales their columns: the scores would be less than"
    " half of the model's."
)
UNDECODED = "The weights are stored as {}, which cannot be decoded here."
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"quant_method": "awq", "bits": 4}, AWQ),
    ({"quant_method": "hqq"}, UNDECODED.format("HQQ")),
    ({"quant_method": "torchao"}, UNDECODED.format("torchao")),
    ({"quant_method": "bitnet"}, UNDECODED.format("BitNet")),
    ({"quant_method": "NEWQ"}, UNDECODED.format("newq")),
    ({"bits": 4}, UNDECODED.format("an unknown method")),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, UNDECODED.format("ModelOpt NVFP4")),
    ({"quant_method": "gptq", "bits": 3}, UNDECODED.format("3-bit GPTQ")),
    (
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"},
        UNDECODED.format("GPTQ in the layout of the marlin kernels"),
    ),
    (
        {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
        UNDECODED.format("compressed-tensors nvfp4-pack-quantized"),
    ),
    (
        {
            "quant_method": "compressed-tensors",
            "format": "dense",
            "sparsity_config": {"format": "sparse-24-bitmask"},
        },
        UNDECODED.format("compressed-tensors sparse-24-bitmask"),
    ),
    (
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {"g": {"weights": {"num_bits": 3}}},
        },
        UNDECODED.format("3-bit compressed-tensors"),
    ),
]


def tensor(name: str, dtype: str = "I32") -> Tensor:
    return Tensor(name=name, shape=(4, 4), dtype=dtype, file="nowhere", start=0, end=0)


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_refusals_say_what_to_scan_instead(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    packed = of_layer({"weight": torch.ones(4, 4, dtype=torch.int32)})
    with pytest.raises(CheckpointError) as caught:
        dequantised(tmp_path, packed, {"quantization_config": settings})
    assert str(caught.value) == f"{message} {INSTEAD}"
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    ("entry", "names", "message"),
    [
        (
            {},
            ("a.qweight", "a.qzeros", "a.scales"),
            "The weights are packed as GPTQ or AWQ does it, and config.json has no"
            " quantization_config that says which.",
        ),
        (
            {"quantization": {"bits": 4}},
            ("a.weight", "a.scales", "a.biases"),
            UNDECODED.format("MLX integers"),
        ),
        ({}, ("a.weight", "a.weight_scale", "a.weight_scale_2"), UNDECODED.format("NVFP4")),
    ],
)
def test_refusals_by_names_alone(
    entry: dict[str, Any], names: tuple[str, ...], message: str
) -> None:
    assert detect(entry, [tensor(name) for name in names]).refuse == message


NO_ENTRY = (
    "config.json does not say that the weights are quantised: transformers would not decode them."
)


@pytest.mark.parametrize("form", ["fp8", "mxfp4", "ct", "bnb4", "bnb8"])
def test_without_a_config_entry_the_names_decide(tmp_path: Path, form: str) -> None:
    made = q.compressed_pack(1, 4, 32, 16) if form == "ct" else q.bnb_4bit(q.random(1, 8, 8), "nf4")
    eight = torch.ones(4, 4, dtype=torch.int8)
    stored, method = {
        "fp8": ({"weight": q.fp8(1, 4, 4), "weight_scale_inv": q.scales(1, 1, 1)}, "fp8"),
        "mxfp4": (
            {
                "weight_blocks": torch.ones(2, 4, 1, 16, dtype=torch.uint8),
                "weight_scales": torch.full((2, 4, 1), 127, dtype=torch.uint8),
            },
            "mxfp4",
        ),
        "ct": (made.stored, "compressed-tensors"),
        "bnb4": (made.stored, "bitsandbytes-4bit"),
        "bnb8": ({"weight": eight, "SCB": torch.ones(4)}, "bitsandbytes-8bit"),
    }[form]
    result = dequantised(tmp_path, of_layer(stored))
    the_weight(result)
    assert result.quantisation.method == method
    assert result.quantisation.banner.endswith(NO_ENTRY)


def test_an_entry_for_a_part_of_the_model(tmp_path: Path) -> None:
    weight, scale = q.fp8(1, 4, 4), q.scales(1, 1, 1)
    stored = of_layer({"weight": weight, "weight_scale_inv": scale})
    result = dequantised(tmp_path, stored, {"text_config": config("fp8")})
    assert result.quantisation == Quantisation("fp8")


def test_a_checkpoint_that_is_not_quantised_passes_through(tmp_path: Path) -> None:
    save(tmp_path, llama() | {"model.layers.0.mask": torch.ones(2, 2, dtype=torch.uint8)})
    checkpoint = read_checkpoint(tmp_path)
    result = dequantise(checkpoint)
    assert result.quantisation == NOT_QUANTISED
    assert [source.parts for source in result.sources] == [(t,) for t in checkpoint.tensors]
    assert [source.name for source in result.sources] == [t.name for t in checkpoint.tensors]
    assert all(source.decode is None for source in result.sources)


@pytest.mark.parametrize("method", ["awq", "fp8", "compressed-tensors", "hqq"])
def test_an_entry_left_over_from_before_the_weights_were_decoded(
    tmp_path: Path, method: str
) -> None:
    result = dequantised(tmp_path, llama(), config(method))
    assert result.quantisation == NOT_QUANTISED
    assert len(result.sources) == len(llama())


@pytest.mark.parametrize("groups", [[], None, {"a": None}, {"a": {"weights": {"num_bits": "4"}}}])
def test_odd_settings_are_no_traceback(tmp_path: Path, groups: Any) -> None:
    made = q.compressed_pack(1, 4, 32, 16)
    entry = config("compressed-tensors", format="pack-quantized", config_groups=groups)
    source = the_weight(dequantised(tmp_path, of_layer(made.stored), entry))
    assert equal(source.read(), q.rounded(made.values))


# ---- damaged checkpoints


def without(stored: Tensors, leaf: str, replaced: torch.Tensor | None = None) -> Tensors:
    rest = {name: tensor for name, tensor in stored.items() if name != leaf}
    return rest if replaced is None else rest | {leaf: replaced}


PACKED = q.compressed_pack(1, 4, 32, 16, symmetric=False).stored
BNB = q.bnb_4bit(q.random(1, 8, 16), "nf4").stored
GPTQ4 = q.gptq(1, 32, 16, 16, 4, v2=False, act_order=True).stored
FP8 = {"weight": q.fp8(1, 24, 40), "weight_scale_inv": q.scales(1, 2, 3)}
MXFP4 = {"w_blocks": torch.ones(2, 4, 1, 16, dtype=torch.uint8)}
STATE = "weight.quant_state.bitsandbytes__nf4"
INT8 = {"weight": torch.ones(4, 4, dtype=torch.int8), "SCB": torch.ones(4)}


@pytest.mark.parametrize(
    ("method", "stored", "message"),
    [
        (
            "fp8",
            without(FP8, "weight_scale_inv"),
            "{0}.weight is stored as FP8 without its scales.",
        ),
        (
            "fp8",
            without(FP8, "weight_scale_inv", q.scales(1, 19, 3)),
            "The scales of {0}.weight (19 × 3) do not fit it (24 × 40).",
        ),
        (
            "fp8",
            without(FP8, "weight_scale_inv", torch.ones(2, 3, dtype=torch.int32)),
            "The scales of {0}.weight (2 × 3) do not fit it (24 × 40).",
        ),
        ("mxfp4", MXFP4, "{0}.w_blocks is stored without its w_scales."),
        (
            "mxfp4",
            MXFP4 | {"w_scales": torch.ones(2, 4, dtype=torch.uint8)},
            "The scales of {0}.w (2 × 4) do not fit it (2 × 4 × 1 × 16).",
        ),
        (
            "compressed-tensors",
            without(PACKED, "weight_scale"),
            "{0}.weight_packed is stored without its weight_scale.",
        ),
        (
            "compressed-tensors",
            without(PACKED, "weight_shape", torch.tensor([4, 99])),
            "The width of the integers in {0}.weight_packed cannot be determined.",
        ),
        (
            "compressed-tensors",
            without(PACKED, "weight_zero_point", torch.ones(3, 2, dtype=torch.int32)),
            "The scales of {0}.weight (3 × 2) do not fit it (4 × 32).",
        ),
        ("gptq", without(GPTQ4, "qzeros"), "{0}.qweight is stored without its qzeros."),
        (
            "gptq",
            without(GPTQ4, "scales", torch.ones(2, 15)),
            "The scales of {0}.weight (2 × 15) do not fit it (16 × 32).",
        ),
        (
            "bitsandbytes_4bit",
            without(BNB, STATE, torch.tensor([123, 125], dtype=torch.uint8)),
            "{0}." + STATE + " cannot be understood.",
        ),
        (
            "bitsandbytes_4bit",
            without(BNB, "weight.absmax", torch.ones(3)),
            "The scales of {0}.weight (3) do not fit it (8 × 16).",
        ),
        (
            "bitsandbytes_8bit",
            INT8 | {"weight_format": torch.tensor(2, dtype=torch.uint8)},
            "{0}.weight is stored in the tile order of a GPU.",
        ),
        (
            "bitsandbytes_8bit",
            without(INT8, "SCB", torch.ones(5)),
            "The scales of {0}.weight (5) do not fit it (4 × 4).",
        ),
    ],
)
def test_parts_that_do_not_fit_are_an_error_of_one_line(
    tmp_path: Path, method: str, stored: Tensors, message: str
) -> None:
    flags = {"load_in_4bit": method.endswith("4bit"), "load_in_8bit": method.endswith("8bit")}
    entry = config(method, bits=4, **flags)
    with pytest.raises(CheckpointError) as caught:
        dequantised(tmp_path, of_layer(stored), entry, gptq=True)
    assert caught.value.message == message.format(LAYER)
    assert caught.value.hint == INSTEAD
