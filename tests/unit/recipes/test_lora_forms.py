"""Adapters under axolotl's keys and as Unsloth's arguments: what stands in the files."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest
import yaml

from spectrum_tui.core.recipes import axolotl_lora
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.kinds import kind_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests.unit.recipes.peft_results import llama, mixture, recipe


def choice(result: Result, percent: float = 25, end: int = 60) -> Choice:
    return Choice(
        selection=Selection(result), policy=Policy(percent=percent), tiers=Tiers(end, 32, 8)
    )


def text_of(kind: str, asked: Choice) -> str:
    (file,) = kind_named(kind).files(asked)
    return file.text


def axolotl(asked: Choice) -> dict[str, Any]:
    return dict(yaml.safe_load(text_of("axolotl-lora", asked)))


RESULTS = {"llama": llama, "biases": lambda: llama(bias=True), "mixture": mixture}


@pytest.mark.parametrize("name", RESULTS)
def test_axolotls_keys_are_pefts_under_other_names(name: str) -> None:
    asked = choice(RESULTS[name](), 50, 100)
    config, _ = recipe("peft-tiers", asked)
    keys = axolotl(asked)
    for key in ("r", "alpha", "dropout", "fan_in_fan_out", "rank_pattern", "alpha_pattern"):
        peft = {"alpha": "lora_alpha", "dropout": "lora_dropout"}.get(key, key)
        assert keys[f"lora_{key}"] == config.get(peft, {})
    for key in ("target_modules", "target_parameters", "modules_to_save"):
        assert keys[f"lora_{key}"] == config.get(key, [])
    assert keys["adapter"] == "lora" and keys["lora_target_linear"] is False


def test_a_tier_has_the_rate_of_its_middle() -> None:
    """lr·0.1^(place): 12.5 % and 42.5 % from the top; every text in one group alone."""
    keys = axolotl(choice(llama()))
    rates = {group["name"]: group["lr"] for group in keys["lr_groups"]}
    assert keys["learning_rate"] == 2e-4
    assert rates == {
        "high": pytest.approx(2e-4 * 0.1**0.125, rel=1e-3),
        "medium": pytest.approx(2e-4 * 0.1**0.425, rel=1e-3),
    }
    texts = [text for group in keys["lr_groups"] for text in group["modules"]]
    assert sorted(texts) == sorted(f".{name}.lora_" for name in keys["lora_target_modules"])
    high = next(group["modules"] for group in keys["lr_groups"] if group["name"] == "high")
    patterns = {name.replace("\\", "") for name in keys["lora_rank_pattern"]}
    assert {text[1 : -len(".lora_")] for text in high} == patterns


def test_rates_fall_as_those_of_param_groups_do() -> None:
    from spectrum_tui.core.adapters import learning_rates

    assert axolotl_lora.LOWEST == learning_rates.LOWEST


def test_one_tier_has_one_group() -> None:
    keys = axolotl(choice(llama(), 25, 25))
    assert [group["name"] for group in keys["lr_groups"]] == ["high"]
    assert keys["lora_rank_pattern"] == {}


def test_qlora_is_a_few_comments_away() -> None:
    """Uncommented, they are keys that name what bitsandbytes must leave alone."""
    text = text_of("axolotl-lora", choice(mixture(), 50, 100))
    lines = text[text.index("# adapter: qlora") :].splitlines()
    keys = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines))
    assert (keys["adapter"], keys["load_in_4bit"]) == ("qlora", True)
    skipped = keys["bnb_config_kwargs"]["llm_int8_skip_modules"]
    assert "lm_head" in skipped and "model.layers.0.mlp.shared_expert.down_proj" in skipped


def constants(text: str) -> dict[str, Any]:
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


@pytest.mark.parametrize("name", RESULTS)
def test_unsloths_arguments_are_pefts(name: str) -> None:
    asked = choice(RESULTS[name](), 50, 100)
    config, script = recipe("peft-tiers", asked)
    text = text_of("unsloth", asked)
    values = constants(text)
    assert values["MODULES"] == config["target_modules"]
    assert values.get("PARAMETERS", []) == config.get("target_parameters", [])
    assert values["RANKS"] == config["rank_pattern"]
    assert values.get("TRAINABLE") == constants_of_numbers(script)["TRAINABLE"]
    assert f"r={config['r']}," in text and f"lora_alpha={config['lora_alpha']}," in text
    assert {len(line) for line in text.splitlines() if line.startswith("#")} <= set(range(89)) | {
        len(line) for line in text.splitlines() if line.startswith("# policy")
    }


def constants_of_numbers(text: str) -> dict[str, int]:
    lines = [line.split(" = ") for line in text.splitlines() if line.startswith("TRAINABLE = ")]
    return {name: int(value) for name, value in lines}


def test_what_cannot_be_quantised_has_no_option_for_it() -> None:
    """A weight that is adapted as a parameter stays in 16 bits."""
    assert "--4bit" in text_of("unsloth", choice(llama()))
    text = text_of("unsloth", choice(mixture(), 50, 100))
    assert "--4bit" not in text and "load_in_4bit=False," in text


@pytest.mark.parametrize(
    ("cls", "loader"), [("LlamaForCausalLM", "FastLanguageModel"), ("PhiForCausalLM", "FastModel")]
)
def test_the_loader_is_that_of_the_class(cls: str, loader: str) -> None:
    plain = llama()
    origin = replace(plain.provenance, naming=f"transformers 5.23.0 {cls}")
    text = text_of("unsloth", choice(replace(plain, provenance=origin)))
    assert f"from unsloth import {loader} " in text
    assert text.count("FastModel") + text.count("FastLanguageModel") == 3


@pytest.mark.parametrize("model", ['quote"d', "two\nlines", "back\\slash", "folder"])
def test_a_folder_must_be_given(model: str) -> None:
    text = text_of("unsloth", choice(llama(model=model)))
    assert not {"MODEL", "REVISION"} & set(constants(text))
    assert "def load_model(model, four_bit=False" in text and "default=MODEL" not in text
