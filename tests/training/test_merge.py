"""Our merge against PEFT's own, bit for bit: every parameter of the model, read back from disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

from spectrum_tui.cli.main import main
from spectrum_tui.core.adapters.configuration import READ, VARIANTS, WITHOUT_EFFECT
from tests.architectures.tiny import ARCHITECTURES, STAGES
from tests.commands import Capture
from tests.training.conftest import Models
from tests.training.peft_models import module_of_file, write_recipe

MODELS = {**ARCHITECTURES, **STAGES}
BF16, FP32 = torch.bfloat16, torch.float32


@dataclass(frozen=True)
class Case:
    """An adapter: of which model, and what its configuration says."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = BF16


ATTENTION = {"target_modules": ["q_proj", "v_proj", "down_proj"]}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CASES = {
    "llama": Case("llama", {"target_modules": "all-linear"}),
    "llama in float32": Case("llama", {"target_modules": "all-linear"}, FP32),
    "llama in float16": Case("llama", ATTENTION, torch.float16),
    "rank-stabilised": Case("llama", {**ATTENTION, "use_rslora": True}),
    "patterns": Case(
        "llama",
        {
            **ATTENTION,
            "rank_pattern": {"q_proj": 7, r"model\.layers\.1\.mlp\.down_proj": 2},
            "alpha_pattern": {"layers.0.*_proj": 3, "v_proj": 11},
        },
    ),
    "DoRA": Case("llama", {**ATTENTION, "use_dora": True}),
    "DoRA in float32": Case("llama", {**ATTENTION, "use_dora": True, "use_rslora": True}, FP32),
    "whole modules": Case(
        "llama", {**ATTENTION, "modules_to_save": ["lm_head", "norm", "layers.0.mlp.up_proj"]}
    ),
    "embeddings": Case("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "DoRA of embeddings": Case("llama", {"target_modules": ["embed_tokens"], "use_dora": True}),
    "tokens": Case("llama", {**ATTENTION, "trainable_token_indices": [5, 3, 60]}),
    "tokens of a tied table": Case("llama_tied", {**ATTENTION, "trainable_token_indices": [1, 9]}),
    "bias": Case("qwen2", {"target_modules": ["q_proj", "k_proj"], "lora_bias": True}),
    "by parameter": Case(
        "llama", {"target_modules": [], "target_parameters": ["q_proj.weight", "up_proj.weight"]}
    ),
    "gpt2": Case("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "gpt2 with DoRA": Case("gpt2", {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
    "gpt2 by parameter": Case(
        "gpt2", {"target_modules": [], "target_parameters": ["attn.c_attn.weight"]}
    ),
    "experts": Case(
        "qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": EXPERTS, "r": 2}
    ),
    "experts with ranks of their own": Case(
        "qwen3_moe",
        {
            "target_modules": [],
            "target_parameters": EXPERTS,
            "rank_pattern": {"experts.down_proj": 3},
            "alpha_pattern": {"experts.down_proj": 5},
        },
    ),
    "one of two parameters": Case(
        "qwen3_moe", {"target_modules": [], "target_parameters": EXPERTS[1:]}, FP32
    ),
    "turned experts": Case(
        "gpt_oss",
        {"target_modules": ["q_proj"], "target_parameters": EXPERTS},
    ),
    "joined projections": Case("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "gpt_neox": Case("gpt_neox", {"target_modules": ["query_key_value"]}),
    "vit": Case(
        "vit",
        {"target_modules": ["q_proj", "v_proj", "projection"], "modules_to_save": ["classifier"]},
    ),
    "convolutions": Case("convnext", {"target_modules": ["embeddings.patch_embeddings"]}, FP32),
    "DoRA of convolutions": Case(
        "resnet", {"target_modules": ["convolution"], "use_dora": True}, FP32
    ),
}


def test_every_field_of_pefts_configuration_is_read_refused_or_without_effect() -> None:
    assert {one.name for one in fields(LoraConfig)} <= READ | set(VARIANTS) | WITHOUT_EFFECT


def adapter(base: Any, options: dict[str, Any], folder: Path) -> None:
    """Save an adapter with values that no start would have."""
    torch.manual_seed(7)
    adapted = get_peft_model(base, LoraConfig(**{"r": 4, "lora_alpha": 6, **options}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            noise = torch.randn_like(parameter)
            if "magnitude" in name:
                parameter.mul_(1 + 0.1 * noise)
            elif parameter.requires_grad:
                parameter.add_(0.05 * noise)
    adapted.save_pretrained(folder)


def loaded(case: Case, folder: Path) -> Any:
    kind = getattr(transformers, MODELS[case.model].model)
    return kind.from_pretrained(folder, dtype=case.dtype)


@pytest.mark.parametrize("name", CASES)
def test_a_merge_is_that_of_peft(name: str, tmp_path: Path, capsys: Capture) -> None:
    case = CASES[name]
    base, ours = tmp_path / "base", tmp_path / "merged"
    torch.manual_seed(3)
    MODELS[case.model].build().to(case.dtype).save_pretrained(base)
    adapter(loaded(case, base), case.options, tmp_path / "adapter")
    assert main(["merge", str(tmp_path / "adapter"), "--into", str(base), "-o", str(ours)]) == 0
    assert capsys.readouterr().out == f"{ours}\n"
    plain = loaded(case, base).state_dict()
    theirs = PeftModel.from_pretrained(loaded(case, base), tmp_path / "adapter").merge_and_unload()
    expected, merged = theirs.state_dict(), loaded(case, ours).state_dict()
    assert merged.keys() == expected.keys()
    assert [n for n, t in expected.items() if not torch.equal(t, merged[n])] == []
    assert any(not torch.equal(t, plain[n]) for n, t in expected.items())
    with (
        safe_open(base / "model.safetensors", "pt") as before,
        safe_open(ours / "model.safetensors", "pt") as after,
    ):
        assert list(before.keys()) == list(after.keys())


def test_a_head_that_trained_apart_from_its_table_is_stored_apart(
    tmp_path: Path, capsys: Capture
) -> None:
    """PEFT's own merge changes the table as well, and answers otherwise than the adapter."""
    case = Case("llama_tied", {"target_modules": ["lm_head"]}, FP32)
    ARCHITECTURES["llama_tied"].build().save_pretrained(tmp_path / "base")
    adapter(loaded(case, tmp_path / "base"), case.options, tmp_path / "adapter")
    arguments = ["merge", str(tmp_path / "adapter"), "--into", str(tmp_path / "base")]
    assert main([*arguments, "-o", str(tmp_path / "merged")]) == 0
    said = capsys.readouterr().err
    assert "note: model.embed_tokens.weight and lm_head.weight were one table" in said
    tokens = torch.arange(3, 19)[None]
    base = loaded(case, tmp_path / "base")
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
        expected = adapted(input_ids=tokens).logits
        ours = loaded(case, tmp_path / "merged").eval()(input_ids=tokens).logits
        theirs = adapted.merge_and_unload()(input_ids=tokens).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert float((theirs - expected).abs().max()) > 1e-3
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False


def test_the_head_of_a_task_comes_with_its_class_and_labels(tmp_path: Path) -> None:
    ARCHITECTURES["llama"].build().save_pretrained(tmp_path / "base")
    kind = transformers.LlamaForSequenceClassification
    base = kind.from_pretrained(tmp_path / "base", num_labels=3)
    adapter(base, {**ATTENTION, "task_type": "SEQ_CLS"}, tmp_path / "adapter")
    arguments = ["merge", str(tmp_path / "adapter"), "--into", str(tmp_path / "base")]
    assert main([*arguments, "-o", str(tmp_path / "merged")]) == 0
    again = kind.from_pretrained(tmp_path / "base", num_labels=3)
    expected = PeftModel.from_pretrained(again, tmp_path / "adapter").merge_and_unload()
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert type(merged) is kind
    found = merged.state_dict()
    assert all(torch.equal(t, found[n]) for n, t in expected.state_dict().items())


@pytest.mark.parametrize("kind", ["peft-tiers", "peft-hybrid", "peft-groups"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe"])
def test_what_our_recipes_train_is_merged(
    kind: str, name: str, prepared: Models, tmp_path: Path
) -> None:
    """Trained on a base in 4 bits where the recipe says so, merged into the 16-bit one."""
    if kind == "peft-hybrid":
        pytest.importorskip("bitsandbytes")
    model = prepared(name, BF16)
    choice = model.choice(34, medium_percent=60, high_rank=6, medium_rank=2)
    script = module_of_file(write_recipe(kind, choice, tmp_path)[0])
    adapted = script["load_model"](model.folder)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    arguments = ["merge", str(tmp_path / "adapter"), "--into", str(model.folder)]
    assert main([*arguments, "-o", str(tmp_path / "merged")]) == 0
    case = Case(name)
    base = loaded(case, model.folder)
    expected = PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload()
    found = loaded(case, tmp_path / "merged").state_dict()
    assert [n for n, t in expected.state_dict().items() if not torch.equal(t, found[n])] == []
    plain = loaded(case, model.folder).state_dict()
    assert any(not torch.equal(t, plain[n]) for n, t in found.items())
