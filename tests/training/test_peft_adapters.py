"""Adapters of our JSON in real PEFT: on exactly the intended layers, with the ranks as written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model

from spectrum_tui.core.recipes.adapter_kind import AdapterKind
from spectrum_tui.core.recipes.peft_kinds import ADAPTER_KINDS
from tests.training.conftest import Models
from tests.training.peft_models import (
    DEEP,
    Prepared,
    adaptable,
    adapters_of,
    logits,
    trainable,
    trained,
    write_recipe,
)

HIGH, MEDIUM = 6, 2
TIERS = {"medium_percent": 60, "high_rank": HIGH, "medium_rank": MEDIUM}
PERCENT = 34


def adapted(model: Prepared, kind: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model with the adapter of a recipe, and what the JSON says."""
    _, config = write_recipe(kind, model.choice(PERCENT, **TIERS), folder)
    return get_peft_model(model.load(), LoraConfig(**copy.deepcopy(config))), config


def intended(model: Prepared, plain: Any) -> dict[str, int]:
    """{layer: rank} of the tiers, by the rules typed again on the model itself."""
    every = adaptable(plain)
    high, both = model.best(PERCENT), model.best(TIERS["medium_percent"])
    return {name: HIGH if name in high else MEDIUM for name in every if name in both}


@pytest.mark.parametrize("name", DEEP)
def test_tiers_have_their_ranks_and_one_scale(name: str, prepared: Models, tmp_path: Path) -> None:
    model = prepared(name)
    wanted = intended(model, model.load())
    assert {HIGH, MEDIUM} == set(wanted.values())
    peft_model, _ = adapted(model, "peft-tiers", tmp_path)
    assert adapters_of(peft_model) == {layer: (rank, 2.0) for layer, rank in wanted.items()}
    assert all(".lora_" in tensor for tensor in trainable(peft_model))


@pytest.mark.parametrize("name", DEEP)
def test_the_selected_layers_have_adapters(name: str, prepared: Models, tmp_path: Path) -> None:
    model = prepared(name)
    wanted = {n for n, rank in intended(model, model.load()).items() if rank == HIGH}
    peft_model, _ = adapted(model, "peft-lora", tmp_path)
    assert adapters_of(peft_model) == dict.fromkeys(wanted, (HIGH, 2.0))


@pytest.mark.parametrize("kind", ADAPTER_KINDS[:3], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", DEEP)
def test_what_is_counted_is_what_trains(
    name: str, kind: AdapterKind, prepared: Models, tmp_path: Path
) -> None:
    model = prepared(name)
    peft_model, _ = adapted(model, kind.name, tmp_path)
    count = kind.count(model.choice(PERCENT, **TIERS))
    assert count.parameters == peft_model.get_nb_trainable_parameters()[0] > 0
    assert count.full == sum(
        tensor.numel() for n, tensor in trainable(peft_model).items() if "modules_to_save" in n
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "peft-tiers") for name in DEEP), *((name, "peft-hybrid") for name in DEEP)],
)
def test_twenty_steps_change_the_adapter_and_nothing_else(
    name: str, kind: str, prepared: Models, tmp_path: Path
) -> None:
    peft_model, _ = adapted(prepared(name), kind, tmp_path)
    wanted = set(trainable(peft_model))
    assert trained(peft_model) == wanted


@pytest.mark.parametrize("kind", ["peft-tiers", "peft-hybrid"])
@pytest.mark.parametrize("name", DEEP)
def test_a_saved_adapter_comes_back(name: str, kind: str, prepared: Models, tmp_path: Path) -> None:
    model = prepared(name)
    peft_model, _ = adapted(model, kind, tmp_path)
    trained(peft_model, steps=3)
    peft_model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(model.load(), tmp_path / "adapter")
    assert adapters_of(again) == adapters_of(peft_model)
    answer = logits(peft_model)
    assert logits(again).equal(answer)
    assert not logits(model.load()).allclose(answer, atol=1e-3)


def test_high_modules_train_whole(prepared: Models, tmp_path: Path) -> None:
    model = prepared("qwen2")
    peft_model, config = adapted(model, "peft-hybrid", tmp_path)
    wanted = intended(model, model.load())
    high = {name for name, rank in wanted.items() if rank == HIGH}
    assert set(config["modules_to_save"]) == high
    assert set(adapters_of(peft_model)) == set(wanted) - high
    whole = {
        name.split(".modules_to_save")[0].removeprefix("base_model.model.")
        for name in trainable(peft_model)
        if "modules_to_save" in name
    }
    assert whole == high
    assert any(
        name.endswith("q_proj.modules_to_save.default.bias") for name in trainable(peft_model)
    )
