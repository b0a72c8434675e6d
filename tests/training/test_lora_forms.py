"""Adapters in the forms of axolotl and Unsloth, by their readers typed again, in real PEFT: on
exactly the layers that were chosen, with their ranks, scales and learning rates."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("peft")

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.adapter_kind import AdapterKind
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.kinds import kind_named, kinds_for
from spectrum_tui.core.results.policy import Policy
from tests.architectures.test_trainers import is_loaded, shaped
from tests.architectures.tiny import ARCHITECTURES
from tests.training.peft_models import Prepared, adapters_of, prepare, trained

HIGH, MEDIUM = 6, 2
TIERS = {"medium_percent": 100, "high_rank": HIGH, "medium_rank": MEDIUM}
TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}


def of_axolotl(model: Any, keys: dict[str, Any]) -> Any:
    """As axolotl 0.18 makes the configuration: the task by the class, all else as it stands."""
    assert keys["adapter"] == "lora" and not keys["lora_target_linear"]
    task = [task for end, task in TASKS.items() if end in type(model).__name__]
    config = LoraConfig(
        r=keys["lora_r"],
        lora_alpha=keys["lora_alpha"],
        target_modules=keys.get("lora_target_modules") or [],
        target_parameters=keys.get("lora_target_parameters") or [],
        lora_dropout=keys["lora_dropout"],
        fan_in_fan_out=keys["lora_fan_in_fan_out"],
        modules_to_save=keys["lora_modules_to_save"] or None,
        bias="none",
        task_type=task[0] if task else "CAUSAL_LM",
        rank_pattern=keys["lora_rank_pattern"] or {},
        alpha_pattern=keys["lora_alpha_pattern"] or {},
    )
    return get_peft_model(model, config)


def rates_of_axolotl(model: Any, keys: dict[str, Any]) -> dict[str, float]:
    """{tensor that trains: learning rate}: the first group with a text that the name holds."""
    texts = {text: float(group["lr"]) for group in keys["lr_groups"] for text in group["modules"]}
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            saved = "modules_to_save" in name or name.endswith("bias")
            rates = [] if saved else [rate for text, rate in texts.items() if text in name]
            found[name] = rates[0] if rates else float(keys["learning_rate"])
    return found


@dataclass
class Unsloth:
    """What a script imports instead: both loaders as of 2026.8, without kernels and quantisation.

    Only LoRA trains in the end, whatever PEFT has added besides.
    """

    model: Any
    used: str = ""

    def loader(self, name: str) -> Any:
        outer = self

        class Loader:
            @staticmethod
            def from_pretrained(
                model_name: str, max_seq_length: int, load_in_4bit: bool, revision: str = ""
            ) -> tuple[Any, str]:
                outer.used = name
                return outer.model, "tokenizer"

            @staticmethod
            def get_peft_model(
                model: Any, r: int, target_modules: list[str], **arguments: Any
            ) -> Any:
                assert isinstance(target_modules, list)
                config = LoraConfig(
                    r=r, target_modules=target_modules, task_type="CAUSAL_LM", **arguments
                )
                adapted = get_peft_model(model, config)
                for tensor, parameter in adapted.named_parameters():
                    parameter.requires_grad_(".lora_A." in tensor or ".lora_B." in tensor)
                return adapted

        return Loader

    def load(self, script: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The model as the script makes it."""
        module = ModuleType("unsloth")
        for name in ("FastLanguageModel", "FastModel"):
            setattr(module, name, self.loader(name))
        monkeypatch.setitem(sys.modules, "unsloth", module)
        adapted, tokenizer = runpy.run_path(str(script))["load_model"]("here")
        assert tokenizer == "tokenizer"
        return adapted


FAST = ("llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3")
"""Model types that Unsloth's FastLanguageModel loads by itself."""


def tiers(kind: AdapterKind, choice: Choice) -> dict[str, int]:
    """{layer: rank} by the policy; the layers of the program itself, checked elsewhere."""
    from spectrum_tui.core.recipes.adapters import adapter_layers

    names = [row[0].removesuffix(".weight") for row in choice.selection.result.scores.parameters]
    found: dict[str, int] = {}
    masks = kind.tiers(adapter_layers(choice.selection), choice)
    for mask, rank in zip(masks, (HIGH, MEDIUM), strict=True):
        found |= {names[row]: rank for row in mask.nonzero()[0].tolist()}
    return found


def owners(model: Any) -> dict[int, str]:
    """{tensor of an adapter, by identity: the layer that it adapts}."""
    found: dict[int, str] = {}
    for path, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            name = path.replace(".base_layer", "")
            if isinstance(module, ParamWrapper):
                name = f"{name}.{module.parameter_name}".removesuffix(".weight")
            tensors = (module.lora_A["default"].weight, module.lora_B["default"].weight)
            found |= {id(tensor): name for tensor in tensors}
    return found


def check_rates(adapted: Any, keys: dict[str, Any], wanted: dict[str, int]) -> None:
    rates, of = rates_of_axolotl(adapted, keys), owners(adapted)
    by_name = {group["name"]: group["lr"] for group in keys["lr_groups"]}
    assert all(float(keys["learning_rate"]) > rate for rate in by_name.values())
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            tier = "high" if wanted[of[id(parameter)]] == HIGH else "medium"
            assert rates[name] == by_name[tier], name
        elif parameter.requires_grad:
            assert rates[name] == float(keys["learning_rate"])


def policies(model: Prepared) -> tuple[Policy, Policy]:
    return Policy(percent=50), replace(shaped(model.result), embeddings=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_adapters_of_each_form_are_those_that_were_chosen(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ARCHITECTURES[name].available:
        pytest.skip(f"this transformers has no {ARCHITECTURES[name].model}")
    model = prepare(name, tmp_path, {}, torch.float32)
    classifies = "Classification" in ARCHITECTURES[name].model
    for policy in policies(model):
        choice = replace(model.choice(50, **TIERS), policy=policy)
        for kind in (kind_named("axolotl-lora"), kind_named("unsloth")):
            assert isinstance(kind, AdapterKind)
            plain = model.load()
            loads = is_loaded(plain) and not (classifies and kind.name == "unsloth")
            assert (kind in kinds_for(model.result)) is loads
            if not loads:
                with pytest.raises(SelectionError, match=f"{kind.name} does not train it"):
                    kind.files(choice)
                continue
            (file,) = kind.files(choice)
            wanted = tiers(kind, choice)
            if kind.name == "unsloth":
                path = tmp_path / "script.py"
                path.write_text(file.text, encoding="utf-8")
                unsloth = Unsloth(plain)
                adapted = unsloth.load(path, monkeypatch)
                fast = plain.config.model_type in FAST
                assert unsloth.used == ("FastLanguageModel" if fast else "FastModel")
            else:
                keys = yaml.safe_load(file.text)
                adapted = of_axolotl(plain, keys)
                check_rates(adapted, keys, wanted)
            assert adapters_of(adapted) == {layer: (r, 2.0) for layer, r in wanted.items()}
            trains = {n: p.numel() for n, p in adapted.named_parameters() if p.requires_grad}
            assert sum(trains.values()) == kind.count(choice).parameters > 0
            others = {
                n.partition(".modules_to_save.")[0].removeprefix("base_model.model.")
                for n in trains
                if ".lora_" not in n
            }
            assert others == set(model.result.task_modules)


def test_three_steps_change_the_adapters_of_axolotls_form(tmp_path: Path) -> None:
    model = prepare("llama", tmp_path, {}, torch.float32)
    (file,) = kind_named("axolotl-lora").files(model.choice(50, **TIERS))
    adapted = of_axolotl(model.load(), yaml.safe_load(file.text))
    wanted = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained(adapted, steps=3) == wanted


def test_a_classifier_whose_head_must_stay_frozen_is_refused(tmp_path: Path) -> None:
    model = prepare("bert_classifier", tmp_path, {}, torch.float32)
    choice = replace(model.choice(50, **TIERS), policy=Policy(percent=50, embeddings=False))
    with pytest.raises(SelectionError, match="trains the head of a classifier"):
        kind_named("axolotl-lora").files(choice)
