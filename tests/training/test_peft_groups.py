"""Shared adapters in real PEFT: one storage a group, trained, merged, saved and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from peft import PeftModel

from spectrum_tui.core.recipes.peft_kinds import GROUPS
from tests.training.conftest import Models
from tests.training.peft_models import (
    Prepared,
    adapters_of,
    logits,
    module_of_file,
    trainable,
    trained,
    write_recipe,
)

RANK = 4
PERCENT = 75


def recipe(model: Prepared, folder: Path) -> dict[str, Any]:
    """What the generated file defines."""
    choice = model.choice(PERCENT, high_rank=RANK)
    return module_of_file(write_recipe("peft-groups", choice, folder)[0])


def storages(model: Any, name: str) -> tuple[int, int]:
    """Where the numbers of both matrices of a module's adapter lie."""
    module = model.get_base_model().get_submodule(name)
    parts = (module.lora_A["default"], module.lora_B["default"])
    return parts[0].weight.data_ptr(), parts[1].weight.data_ptr()


@pytest.mark.parametrize("name", ["llama", "gpt2", "deepseek_v3"])
def test_a_group_has_one_adapter(name: str, prepared: Models, tmp_path: Path) -> None:
    model = prepared(name)
    script = recipe(model, tmp_path)
    adapted = script["load_model"](model.folder)
    every = set(adapters_of(adapted))
    grouped = [member for group in script["GROUPS"] for member in group]
    assert grouped and len(grouped) == len(set(grouped)) and set(grouped) <= every
    for group in script["GROUPS"]:
        assert len(group) > 1
        assert len({storages(adapted, member) for member in group}) == 1
    adapters = len(every) - len(grouped) + len(script["GROUPS"])
    assert len(trainable(adapted)) == 2 * adapters
    count = GROUPS.count(model.choice(PERCENT, high_rank=RANK))
    assert count.parameters == sum(p.numel() for p in trainable(adapted).values())
    assert count.high == len(every) and count.shared == len(every) - adapters


def test_groups_train_and_merge(prepared: Models, tmp_path: Path) -> None:
    model = prepared("llama")
    script = recipe(model, tmp_path)
    adapted = script["load_model"](model.folder)
    assert trained(adapted) == set(trainable(adapted))
    answer = logits(adapted)
    assert not torch.allclose(answer, logits(model.load()), atol=1e-3)
    adapted.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(
        script["load_base"](model.folder), tmp_path / "adapter", is_trainable=True
    )
    assert logits(again).equal(answer)
    script["share"](again)
    assert len(trainable(again)) == len(trainable(adapted))
    assert logits(again).equal(answer)
    assert torch.allclose(logits(adapted.merge_and_unload()), answer, atol=1e-4)
