"""Every architecture with every adapter recipe: PEFT adapts exactly what was meant to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

from peft import LoraConfig, get_peft_model

from spectrum_tui.core.recipes.peft_kinds import TIERS as TIERS_KIND
from tests.architectures.tiny import ARCHITECTURES
from tests.training.peft_models import adaptable, adapters_of, prepare, write_recipe

HIGH, MEDIUM = 4, 2
TIERS = {"medium_percent": 100, "high_rank": HIGH, "medium_rank": MEDIUM}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_are_where_they_were_meant_to_be(name: str, tmp_path: Path) -> None:
    if not ARCHITECTURES[name].available:
        pytest.skip(f"this transformers has no {ARCHITECTURES[name].model}")
    model = prepare(name, tmp_path, {}, torch.float32)
    plain = model.load()
    heads = {head.name.removesuffix(".weight") for head in model.result.embeddings}
    high, every = model.best(50), set(adaptable(plain)) - heads
    wanted = {layer: (HIGH if layer in high else MEDIUM, 2.0) for layer in every}
    choice = model.choice(50, **TIERS)
    _, config = write_recipe("peft-tiers", choice, tmp_path)
    adapted = get_peft_model(plain, LoraConfig(**config))
    assert adapters_of(adapted) == wanted
    assert TIERS_KIND.count(choice).parameters == sum(
        p.numel() for p in adapted.parameters() if p.requires_grad
    )
    names = [n for n, p in adapted.named_parameters() if p.requires_grad and ".lora_" not in n]
    whole = {n.partition(".modules_to_save.")[0].removeprefix("base_model.model.") for n in names}
    assert whole == set(model.result.task_modules)
