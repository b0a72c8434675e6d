"""4-bit bases of bitsandbytes on the CPU: what is quantised, what trains, what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("bitsandbytes")

import bitsandbytes
from peft import PeftModel

from tests.training.conftest import Models
from tests.training.peft_models import (
    DEEP,
    TEXT,
    Prepared,
    adaptable,
    adapters_of,
    module_of_file,
    trainable,
    trained,
    write_recipe,
)

TIERS = {"medium_percent": 60, "high_rank": 6, "medium_rank": 2}
PERCENT = 34


def script_of(model: Prepared, kind: str, folder: Path) -> dict[str, Any]:
    """What the generated file defines."""
    return module_of_file(write_recipe(kind, model.choice(PERCENT, **TIERS), folder)[0])


def quantised(model: Any) -> set[str]:
    """The modules whose weights are in 4 bits."""
    return {
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }


def answer(model: Any) -> torch.Tensor:
    """Logits as they are while training: for inference on a CPU, bitsandbytes packs the weights
    otherwise, and matrices as small as these not at all."""
    torch.manual_seed(0)
    with torch.no_grad():
        found: torch.Tensor = model.train()(input_ids=TEXT).logits
    return found


@pytest.mark.parametrize("name", DEEP)
def test_the_hybrid_quantises_what_does_not_train_whole(
    name: str, prepared: Models, tmp_path: Path
) -> None:
    model = prepared(name, torch.bfloat16)
    script = script_of(model, "peft-hybrid", tmp_path)
    plain = model.load()
    linear = {layer for layer, what in adaptable(plain).items() if what == "module"}
    high = linear & model.best(PERCENT)
    adapted = script["load_model"](model.folder)
    base = adapted.get_base_model()
    by_weight = {n.removesuffix(".weight") for n in script["CONFIG"].get("target_parameters", ())}
    assert high
    assert quantised(base) == linear - high - by_weight
    assert not isinstance(base.get_output_embeddings(), bitsandbytes.nn.Linear4bit)
    assert set(script["CONFIG"]["modules_to_save"]) == high


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe"])
def test_the_hybrid_trains_and_comes_back(
    name: str, dtype: torch.dtype, prepared: Models, tmp_path: Path
) -> None:
    model = prepared(name, dtype)
    script = script_of(model, "peft-hybrid", tmp_path)
    adapted = script["load_model"](model.folder)
    wanted = set(trainable(adapted))
    assert any("modules_to_save" in n for n in wanted) and any("lora_A" in n for n in wanted)
    assert trained(adapted, steps=5) == wanted
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(script["load_base"](model.folder), tmp_path / "adapter")
    assert adapters_of(again) == adapters_of(adapted)
    assert answer(again).equal(answer(adapted))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["peft-lora", "peft-tiers", "peft-groups"])
def test_the_others_run_on_four_bits_too(
    kind: str, dtype: torch.dtype, prepared: Models, tmp_path: Path
) -> None:
    model = prepared("llama", dtype)
    script = script_of(model, kind, tmp_path)
    adapted = script["load_model"](model.folder, four_bit=True)
    linear = {layer for layer, what in adaptable(model.load()).items() if what == "module"}
    assert quantised(adapted.get_base_model()) == linear
    adapted.train()(input_ids=TEXT, labels=TEXT).loss.backward()
    got = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert got == set(trainable(adapted))
