"""A probe against autograd in float64: all at once, block by block, in groups of layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectrum_tui.core.probing.records import Plan, Target
from spectrum_tui.core.probing.sketches import read_sketches
from spectrum_tui.proving.probing.weights import skeleton
from tests.unit.probing.by_hand import (
    Measured,
    assert_close,
    job,
    measured,
    probed,
    said,
    saved,
    wanted,
)

FEW = 1
"""Bytes of memory in which every layer has a pass of its own."""
SAVED: dict[str, Measured] = {}
"""By name: a model is made, and differentiated by hand, once."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def model_of(name: str, folder: Path) -> Measured:
    if name not in SAVED:
        SAVED[name] = measured(saved(name, folder / name), folder)
    return SAVED[name]


@pytest.mark.parametrize("name", ["llama_tied", "gpt2", "qwen3_moe", "bert", "t5"])
def test_gradients_are_those_of_autograd(name: str, models: Path) -> None:
    model = model_of(name, models)
    targets = [Target(parameter=one) for one in model.weights]
    lines, at_once = said(job(model.folder, models, *targets))
    assert isinstance(lines[0], Plan) and lines[0].passes == 1 and not lines[0].recompute
    assert_close(model, targets, at_once)
    wide = [t for t in targets if model.weights[t.parameter].ndim > 1]
    few = wide[:: max(1, len(wide) // 5)]
    lines, in_groups = said(job(model.folder, models, *few, memory=FEW))
    plan = lines[0]
    assert isinstance(plan, Plan)
    assert plan.passes == len(few) and plan.recompute and not plan.hold
    assert len(lines) == 1 + at_once.batches * len(few)
    for target, values in zip(few, in_groups.values, strict=True):
        alone = at_once.values[targets.index(target)]
        assert values.keys() == alone.keys()
        for metric in values:
            assert values[metric] == pytest.approx(alone[metric], rel=1e-9)
    assert in_groups.loss == pytest.approx(at_once.loss, rel=1e-12)


def test_experts_are_measured_each_for_itself(models: Path) -> None:
    model = model_of("qwen3_moe", models)
    name = "model.layers.1.mlp.experts.gate_up_proj"
    each, weight = model.gradients[name], model.weights[name]
    half = weight.shape[1] // 2
    values = probed(job(model.folder, models, Target(parameter=name))).values[0]
    parts = [(e, part) for e in range(weight.shape[0]) for part in (slice(half), slice(half, None))]
    assert len(values["gradient"]) == len(parts)
    for place, (expert, part) in enumerate(parts):
        own = [gradient[expert, part] for gradient in each]
        if not any(gradient.any() for gradient in own):
            assert values["gradient"][place] == values["gradient_snr"][place] == 0.0
            continue
        for metric, value in wanted(own, weight[expert, part]).items():
            assert values[metric][place] == pytest.approx(value, rel=1e-6)


def test_sketches_are_kept_and_float32_is_close_enough(models: Path) -> None:
    model = model_of("llama_tied", models)
    name = "model.layers.0.mlp.down_proj.weight"
    targets = Target(parameter=name), Target(parameter="nowhere.weight")
    asked = job(model.folder, models, *targets, dtype="float32")
    outcome = probed(asked)
    for metric, value in wanted(model.gradients[name], model.weights[name]).items():
        assert outcome.values[0][metric][0] == pytest.approx(value, rel=1e-4)
    assert outcome.values[1] == {} and "1 layer is not in the model" in outcome.notes
    (found,) = read_sketches("made up", asked.digest).items()
    mean = torch.stack(model.gradients[name]).mean(0)
    assert found[0] == name
    assert torch.allclose(torch.from_numpy(found[1]), mean.float(), rtol=1e-3, atol=1e-7)


def test_a_quantised_model_has_the_gradients_of_its_dequantised_values(tmp_path: Path) -> None:
    folder = saved("llama_tied", tmp_path / "fp8")
    stored, plain = load_file(folder / "model.safetensors"), tmp_path / "llama_tied"
    shutil.copytree(folder, plain)
    name = "model.layers.0.mlp.down_proj.weight"
    scale = torch.full((1, 1), 0.01)
    weight = (stored[name].float() / scale).to(torch.float8_e4m3fn)
    quantised = {**stored, name: weight, f"{name}_scale_inv": scale}
    save_file(quantised, folder / "model.safetensors", metadata={"format": "pt"})
    entry = {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3",
             "activation_scheme": "dynamic"}  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": entry}))
    values = weight.float() * scale
    save_file({**stored, name: values}, plain / "model.safetensors", metadata={"format": "pt"})
    targets = [Target(parameter=name), Target(parameter="model.layers.1.self_attn.q_proj.weight")]
    assert_close(measured(plain, tmp_path), targets, probed(job(folder, tmp_path, *targets)))


@pytest.mark.parametrize("name", ["llama_tied", "bert"])
def test_buffers_lie_where_the_model_computes(name: str, models: Path) -> None:
    """BERT looks its positions up in one: with that on the CPU a GPU's probe ended."""
    config = json.loads((model_of(name, models).folder / "config.json").read_text(encoding="utf-8"))
    model = skeleton(config, config["architectures"][0], torch.device("meta"), torch.float32)
    buffers = dict(model.named_buffers())
    assert buffers and {buffer.device.type for buffer in buffers.values()} == {"meta"}
