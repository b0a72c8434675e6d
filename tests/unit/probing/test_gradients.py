"""A probe against autograd in float64: all at once, block by block, in groups of layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spectrum_tui.core.probing.records import Plan, Target
from spectrum_tui.core.probing.sketches import read_sketches
from spectrum_tui.proving.batches import Kind
from tests.unit.probing.by_hand import job, plain_gradients, probed, said, wanted
from tests.unit.proving.tiny_language import save_model

FEW = 1
"""Bytes of memory in which every layer has a pass of its own."""
MODELS: list[tuple[str, Kind]] = [
    ("llama", "causal"),
    ("llama_tied", "causal"),
    ("gpt2", "causal"),
    ("gpt_neox", "causal"),
    ("gemma2", "causal"),
    ("mamba", "causal"),
    ("qwen3_moe", "causal"),
    ("gpt_oss", "causal"),
    ("bert", "masked"),
    ("t5", "seq2seq"),
]
CLASSES = {"causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM"}


def loaded(folder: Path, kind: Kind) -> tuple[Any, Any]:
    import transformers

    auto = getattr(transformers, CLASSES.get(kind, "AutoModelForSeq2SeqLM"))
    how: dict[str, Any] = {}
    if "moe" in folder.name or folder.name == "gpt_oss":
        how = {"experts_implementation": "eager"}
    model = auto.from_pretrained(folder, dtype=torch.float64, **how).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def saved(name: str, folder: Path) -> Path:
    save_model(name, folder, around=name == "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": 0}))
    return folder


@pytest.mark.parametrize(("name", "kind"), MODELS)
def test_gradients_are_those_of_autograd(name: str, kind: Kind, tmp_path: Path) -> None:
    folder = saved(name, tmp_path / name)
    model, tokenizer = loaded(folder, kind)
    weights = dict(model.named_parameters())
    targets = [Target(parameter=one) for one in weights]
    asked = job(folder, tmp_path, *targets)
    expected = plain_gradients(model, tokenizer, kind, asked)
    plan, *_ = said(asked)[0]
    assert isinstance(plan, Plan) and plan.passes == 1 and not plan.recompute
    few = [Target(parameter=one) for one in list(weights)[:: max(1, len(weights) // 5)]]
    for outcome, measured in (
        (probed(asked), targets),
        (probed(job(folder, tmp_path, *few, memory=FEW)), few),
    ):
        for target, values in zip(measured, outcome.values, strict=True):
            each = expected[target.parameter]
            if not any(gradient.any() for gradient in each):
                continue
            whole = wanted(each, weights[target.parameter])
            if len(values["fisher"]) == 1:
                for metric, value in whole.items():
                    assert values[metric][0] == pytest.approx(value, rel=1e-6), target
            else:
                mean = sum(values["fisher"]) / len(values["fisher"])
                assert mean == pytest.approx(whole["fisher"], rel=1e-6), target


def test_experts_are_measured_each_for_itself(tmp_path: Path) -> None:
    folder = saved("qwen3_moe", tmp_path / "moe")
    model, tokenizer = loaded(folder, "causal")
    name = "model.layers.1.mlp.experts.gate_up_proj"
    asked = job(folder, tmp_path, Target(parameter=name))
    each = plain_gradients(model, tokenizer, "causal", asked)[name]
    weight = dict(model.named_parameters())[name]
    half = weight.shape[1] // 2
    values = probed(asked).values[0]
    parts = [(e, part) for e in range(weight.shape[0]) for part in (slice(half), slice(half, None))]
    assert len(values["gradient"]) == len(parts)
    for place, (expert, part) in enumerate(parts):
        own = [gradient[expert, part] for gradient in each]
        if not any(gradient.any() for gradient in own):
            assert values["gradient"][place] == values["gradient_snr"][place] == 0.0
            continue
        for metric, value in wanted(own, weight[expert, part]).items():
            assert values[metric][place] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", ["llama_tied", "qwen3_moe"])
def test_groups_of_layers_give_what_one_pass_gives(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path / name)
    model, _ = loaded(folder, "causal")
    targets = [Target(parameter=one) for one, p in model.named_parameters() if p.ndim > 1]
    at_once = probed(job(folder, tmp_path, *targets))
    lines, in_groups = said(job(folder, tmp_path, *targets, memory=FEW))
    plan = lines[0]
    assert isinstance(plan, Plan)
    assert plan.passes == len(targets) and plan.recompute and not plan.hold
    assert len(lines) == 1 + 3 * len(targets)
    for one, other in zip(at_once.values, in_groups.values, strict=True):
        assert one.keys() == other.keys()
        for metric in one:
            assert one[metric] == pytest.approx(other[metric], rel=1e-9)
    assert at_once.loss == pytest.approx(in_groups.loss, rel=1e-12)


def test_float32_is_close_enough(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "llama")
    target = Target(parameter="model.layers.0.mlp.down_proj.weight")
    wide, narrow = (probed(job(folder, tmp_path, target, dtype=d)) for d in ("float64", "float32"))
    for metric, values in wide.values[0].items():
        assert narrow.values[0][metric] == pytest.approx(values, rel=1e-4)


def test_sketches_are_kept_under_the_names_asked_for(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "llama")
    name = "model.layers.0.mlp.down_proj.weight"
    asked = job(folder, tmp_path, Target(parameter=name), Target(parameter="nowhere.weight"))
    outcome = probed(asked)
    assert outcome.values[1] == {} and "1 layer is not in the model" in outcome.notes
    (found,) = read_sketches("made up", asked.digest).items()
    model, tokenizer = loaded(folder, "causal")
    mean = torch.stack(plain_gradients(model, tokenizer, "causal", asked)[name]).mean(0)
    assert found[0] == name
    assert torch.allclose(torch.from_numpy(found[1]), mean.float(), rtol=1e-5, atol=1e-8)
