"""A quantised mixture of experts is planned like the same weights stored plainly."""

from __future__ import annotations

from pathlib import Path

import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.plan import plan_parameters
from spectrum_tui.core.quantised.dequantise import dequantise
from tests.architectures.compare import (
    check_experts,
    check_matrices,
    load_as_a_trainer,
    matched,
)
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite

BLOCK = 8
FP8 = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "weight_block_size": [BLOCK, BLOCK],
}
SCALE = "_scale_inv"


def _spread(scales: torch.Tensor) -> torch.Tensor:
    return scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)


def _quantised(tensors: Tensors) -> Tensors:
    made = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            rows, columns = tensor.shape
            blocks = tensor.view(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
            scales = blocks.abs().amax((1, 3)) / 448
            made[name] = (tensor / _spread(scales)).to(torch.float8_e4m3fn)
            made[name + SCALE] = scales
    return made


def _plain(tensors: Tensors) -> Tensors:
    made = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            weight = name.removesuffix(SCALE)
            made[weight] = (tensors[weight].float() * _spread(tensor)).bfloat16()
    return made


def test_fp8_experts_are_merged_after_decoding(tiny: TinyModels, tmp_path: Path) -> None:
    dtype = {"dtype": "bfloat16"}
    source = tiny.folder("qwen3_moe")
    config = {"quantization_config": FP8, **dtype}
    folder = rewrite(source, tmp_path / "fp8", _quantised, config)
    plain = rewrite(source, tmp_path / "plain", lambda t: _plain(_quantised(t)), dtype)
    model, _ = load_as_a_trainer(plain, "Qwen3MoeForCausalLM")
    wanted = dict(model.named_parameters())

    checkpoint = read_checkpoint(folder)
    plan = plan_parameters(checkpoint, sources=dequantise(checkpoint).sources)
    assert matched(plan, wanted, set()) == list(wanted)
    assert check_experts(plan, wanted) == 16
    check_matrices(plan, wanted)
    assert (plan.missing, plan.unexpected, plan.mismatched) == ((), (), ())
    fused = plan.by_name["model.layers.0.mlp.experts.gate_up_proj"]
    assert not plan.matrices(fused)[0].values.by_rows
