"""`freeze_except` on real PEFT models: names through their prefixes, and adapters left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("accelerate")

import peft

from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.training.live_names import live_parameters
from spectrum_tui.core.training.rescoring import live_layers
from spectrum_tui.freeze import freeze_except
from tests.training.runs import build, changed, copied, trained

DOWN = "model.layers.1.mlp.down_proj"
QUERY = "model.layers.0.self_attn.q_proj"
UP = "model.layers.0.mlp.up_proj"


def lora(model: Any, **options: Any) -> Any:
    """The model with LoRA on one module, its B not zero, so that A has a gradient at once."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=[QUERY], **options)
    return peft.get_peft_model(model, config)


def trains(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("llama", {}),
        ("llama", {"use_dora": True}),
        ("llama", {"modules_to_save": [UP]}),
        ("gpt2", {}),
    ],
    ids=["lora", "dora", "modules_to_save", "conv1d"],
)
def test_names_of_the_base_model_are_those_of_before(model: str, options: dict[str, Any]) -> None:
    plain = build(model)
    before = [name for name, _ in plain.named_parameters()]
    if model == "gpt2":
        options = {**options, "fan_in_fan_out": True}
        config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], **options)
        wrapped = peft.get_peft_model(plain, config)
    else:
        wrapped = lora(plain, **options)
    found = [p for p in live_parameters(wrapped) if "lora_" not in p.name]
    names = [p.name for p in found if "original_module" not in p.name]
    assert list(dict.fromkeys(names)) == before or set(names) == {*before, "lm_head.weight"}
    assert {p.actual for p in live_parameters(wrapped)} >= {
        n for n, _ in wrapped.named_parameters()
    }
    assert [p.name for p in found if p.adapter] == [
        f"{n}.weight" for n in options.get("modules_to_save", [])
    ]


def test_adapters_are_not_frozen_by_accident() -> None:
    model = lora(build("llama"))
    before = trains(model)
    with pytest.raises(RecipeError, match="2 adapter parameters") as caught:
        freeze_except(model, [DOWN])
    assert "keep_adapters=True" in caught.value.hint
    assert trains(model) == before


def test_adapters_and_whole_matrices_train_together(tmp_path: Path) -> None:
    model = lora(build("llama"))
    frozen = freeze_except(model, [DOWN], keep_adapters=True)
    adapters = {f"base_model.model.{QUERY}.lora_{x}.default.weight" for x in "AB"}
    assert trains(model) == adapters | {f"base_model.model.{DOWN}.weight"}
    assert f"{DOWN}.weight" in frozen.matched
    before = copied(model)
    trained(model, tmp_path)
    assert changed(model, before) == trains(model)


def test_adapters_that_are_named() -> None:
    model = lora(build("llama"))
    name = f"{QUERY}.lora_A.default"
    freeze_except(model, [f"{name}.weight", DOWN])
    assert trains(model) == {f"base_model.model.{n}.weight" for n in (name, DOWN)}
    as_it_is = f"base_model.model.{name}.weight"
    freeze_except(model, [as_it_is])
    assert trains(model) == {as_it_is}


def test_a_module_with_an_adapter_means_its_own_weight() -> None:
    model = lora(build("llama"))
    freeze_except(model, [QUERY], keep_adapters=True)
    base = f"base_model.model.{QUERY}.base_layer.weight"
    assert {name for name in trains(model) if "lora_" not in name} == {base}


def test_the_copy_of_modules_to_save_is_what_trains() -> None:
    model = lora(build("llama"), modules_to_save=[UP])
    copy = f"base_model.model.{UP}.modules_to_save.default.weight"
    with pytest.raises(RecipeError, match="adapter parameters"):
        freeze_except(model, [UP])
    freeze_except(model, [UP], keep_adapters=True)
    assert copy in trains(model)
    assert f"base_model.model.{UP}.original_module.weight" not in trains(model)


def test_adapters_injected_without_a_peft_model() -> None:
    model = build("llama")
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=[QUERY]), model)
    with pytest.raises(RecipeError, match="adapter parameters"):
        freeze_except(model, [DOWN])
    freeze_except(model, [DOWN], keep_adapters=True)
    assert len(trains(model)) == 3


def test_adapters_are_no_layers_to_score() -> None:
    plain = [layer.name for layer in live_layers(build("llama"))]
    assert [layer.name for layer in live_layers(lora(build("llama")))] == plain
    saved = live_layers(lora(build("llama"), modules_to_save=[UP]))
    assert sorted(layer.name for layer in saved) == sorted(plain)
    assert next(layer for layer in saved if layer.name == UP).trains


def test_four_bit_weights_stay_frozen_and_are_counted_whole() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    plain = build("llama")
    total = sum(p.numel() for p in plain.parameters())
    weight = plain.get_submodule(UP).weight.detach()
    packed = bitsandbytes.nn.Linear4bit(weight.shape[1], weight.shape[0], bias=False)
    packed.weight = bitsandbytes.nn.Params4bit(weight.clone(), requires_grad=False)
    plain.set_submodule(UP, packed.to("cpu"))
    assert plain.get_submodule(UP).weight.dtype == torch.uint8
    frozen = freeze_except(plain, [DOWN])
    assert frozen.total == total
    assert trains(plain) == {f"{DOWN}.weight"}
    with pytest.raises(RecipeError, match="quantised"):
        freeze_except(plain, [DOWN, UP])
