"""PEFT recipes as files: exact names, ranks, and what is left out."""

from __future__ import annotations

import ast
import gc
import json
import re
import weakref
from dataclasses import replace
from typing import Any

import pytest

from spectrum_tui.core.recipes.adapters import AdapterCount, adapter_layers
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.similar import BY_SCORES
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import (
    Parameter,
    Result,
)
from spectrum_tui.core.results.selection import Selection
from tests import made
from tests.unit.recipes.peft_results import KINDS, best, llama, mixture, recipe


def test_lora_names_the_selected_modules() -> None:
    result = llama(norms=True)
    config, _ = recipe(
        "peft-lora",
        Choice(selection=Selection(result), policy=Policy(percent=25), tiers=Tiers(high_rank=16)),
    )
    wanted = {name for name in best(result, 25) if "layernorm" not in name}
    assert config.pop("target_modules") == sorted(wanted, key=result.scores.layers.index)
    assert config == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
    }


def test_patterns_match_one_module_each() -> None:
    result = llama()
    config, _ = recipe(
        "peft-tiers",
        Choice(selection=Selection(result), policy=Policy(percent=25), tiers=Tiers(60, 32, 8)),
    )
    high, both = best(result, 25), best(result, 60)
    assert set(config["target_modules"]) == both
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    for patterns, value in ((config["rank_pattern"], 32), (config["alpha_pattern"], 64)):
        assert set(patterns.values()) == {value}
        hits = [
            (name, key)
            for name in result.scores.layers
            for key in patterns
            if re.match(rf"(.*\.)?({key})$", name)
        ]
        assert [name for name, _ in hits] == [name for name in result.scores.layers if name in high]


def test_a_high_tier_alone_needs_no_patterns() -> None:
    config, _ = recipe(
        "peft-tiers",
        Choice(selection=Selection(llama()), policy=Policy(percent=25), tiers=Tiers(10, 32, 8)),
    )
    assert config["r"] == 32 and "rank_pattern" not in config and "alpha_pattern" not in config


def test_the_hybrid_trains_the_high_tier_whole() -> None:
    result = llama(bias=True)
    choice = Choice(selection=Selection(result), policy=Policy(percent=25), tiers=Tiers(60, 32, 8))
    config, script = recipe("peft-hybrid", choice)
    high, both = best(result, 25), best(result, 60)
    assert set(config["modules_to_save"]) == high
    assert set(config["target_modules"]) == both - high
    assert config["r"] == 8 and "rank_pattern" not in config
    assert constants(script)["KEEP"] == [*config["modules_to_save"], "lm_head"]
    assert "llm_int8_skip_modules=KEEP" in script


def constants(script: str) -> dict[str, Any]:
    """The plain values that a file gives to names."""
    found = {}
    for node in ast.parse(script).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_say_what_trains(kind: str) -> None:
    choice = Choice(
        selection=Selection(llama(snr=dict.fromkeys(range(84), 1.0))),
        policy=Policy(percent=50),
        tiers=Tiers(75),
    )
    config, script = recipe(kind, choice)
    count = KINDS[kind].count(choice)
    made = constants(script)["TRAINABLE"]
    # dynamic: all layers have adapters, of the medium rank but for the high tier
    assert made == (19_660_800 if kind == "peft-dynamic" else count.parameters) >= count.parameters
    assert count.parameters > 0
    assert constants(script)["MODEL"] == "made/llama"
    lengths = {len(line) for line in script.splitlines() if line.startswith("#")}
    assert max(lengths) <= 88
    assert ".weight" not in json.dumps(config)


def counted(result: Result, kind: str, percent: int = 25, **tiers: int) -> AdapterCount:
    return KINDS[kind].count(
        Choice(selection=Selection(result), policy=Policy(percent=percent), tiers=Tiers(**tiers))
    )


def test_counts_follow_from_the_sizes() -> None:
    result = llama(bias=True)
    ends = {"medium_percent": 50, "high_rank": 16, "medium_rank": 4}
    sides = 3 * sum(rows + columns for _, rows, columns in made.TYPES)
    whole = 3 * sum(rows * columns + rows for _, rows, columns in made.TYPES)
    lora = counted(result, "peft-lora", **ends)
    assert (lora.high, lora.medium, lora.parameters) == (21, 0, 16 * sides)
    assert lora.share == lora.parameters / result.total_parameters
    tiers = counted(result, "peft-tiers", **ends)
    assert (tiers.high, tiers.medium, tiers.adapters) == (21, 21, 20 * sides)
    hybrid = counted(result, "peft-hybrid", **ends)
    assert (hybrid.adapters, hybrid.full) == (4 * sides, whole)
    assert (hybrid.high, hybrid.medium) == (21, 21)


def test_a_medium_tier_that_ends_before_the_high_one_is_empty() -> None:
    result = llama()
    tiers = counted(result, "peft-tiers", 50, medium_percent=25)
    assert tiers == counted(result, "peft-lora", 50)


def test_fused_experts_are_parameters_of_so_many_ranks() -> None:
    result = mixture()
    choice = Choice(selection=Selection(result), policy=Policy(percent=50), tiers=Tiers(100, 4, 2))
    config, script = recipe("peft-tiers", choice)
    assert config["target_modules"] == [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]
    assert config["target_parameters"] == [
        f"model.layers.{i}.mlp.{name}"
        for name in ("experts.gate_up_proj", "experts.down_proj", "shared_expert.down_proj.weight")
        for i in range(2)
    ]
    pattern = r"model\.layers\.0\.mlp\.experts\.down_proj"
    assert config["rank_pattern"][pattern] == 4 and config["alpha_pattern"][pattern] == 8
    sides = (64 + 32) + 8 * (96 + 32) + 8 * (32 + 48) + (32 + 40)
    assert KINDS["peft-tiers"].count(choice).parameters == 6 * sides
    assert "8 experts" in script
    assert "Left out: 2 selected routers" in script


def test_fused_experts_of_a_hybrid_get_the_high_rank() -> None:
    choice = Choice(
        selection=Selection(mixture()), policy=Policy(percent=50), tiers=Tiers(100, 4, 2)
    )
    config, script = recipe("peft-hybrid", choice)
    assert config["modules_to_save"] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.shared_expert.down_proj",
    ]
    assert set(config["rank_pattern"].values()) == {4}
    assert constants(script)["KEEP"][2:] == [
        "model.layers.1.mlp.shared_expert.down_proj",
        "lm_head",
    ]
    count = KINDS["peft-hybrid"].count(choice)
    fused = 8 * (96 + 32) + 8 * (32 + 48)
    assert count.adapters == 4 * fused + 2 * (fused + 96 + 72)
    assert count.full == 64 * 32 + 32 * 40


def test_embeddings_and_head_are_left_out() -> None:
    plain = llama()
    scores = plain.scores
    rows = {0: "model.embed_tokens", 1: "lm_head"}
    for row, name in rows.items():
        scores.layers[row] = name
        scores.parameters[row] = (f"{name}.weight",)
    config, script = recipe(
        "peft-lora", Choice(selection=Selection(plain), policy=Policy(percent=100))
    )
    assert not {*rows.values()} & set(config["target_modules"])
    assert "Left out: 2 selected embeddings" in script


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.layers.0.mlp.experts.7.down_proj", "fuse"),
        ("model.layers.0.mlp.gate", "routers"),
        ("model.layers.0.mixer.conv1d", "convolutions"),
        ("model.layers.0.input_layernorm", "norms"),
        ("model.embed_positions", "embeddings"),
    ],
)
def test_names_alone_tell_what_no_adapter_fits(name: str, reason: str) -> None:
    result = made.result(sizes=False, names={0: name})
    config, script = recipe(
        "peft-lora", Choice(selection=Selection(result), policy=Policy(percent=100))
    )
    adapted = {*config["target_modules"]}
    adapted |= {end.removesuffix(".weight") for end in config.get("target_parameters", ())}
    assert adapted == set(result.scores.layers) - {name}
    assert re.search(rf"Left out: 1 selected [^.]*{reason}", " ".join(script.split()))
    assert "TRAINABLE" not in script and "AutoModelForCausalLM" in script


def test_groups_are_runs_of_close_scores() -> None:
    close = dict(enumerate([1.0, 1.2, 1.1, 2.0, 2.1, 0.1, 1.3, 1.25, 0.1, 0.1, 0.1, 0.1]))
    result = llama(types=1, snr=close)
    choice = Choice(
        selection=Selection(result), policy=Policy(percent=59), tiers=Tiers(high_rank=8)
    )
    config, script = recipe("peft-groups", choice)
    names = [[f"model.layers.{i}.mlp.down_proj" for i in g] for g in ((0, 1, 2), (3, 4), (6, 7))]
    assert constants(script)["GROUPS"] == names
    assert config["target_modules"] == [name for group in names for name in group]
    assert BY_SCORES in " ".join(line.strip("# ") for line in script.splitlines())
    count = KINDS["peft-groups"].count(choice)
    adapters = 3 * 8 * (4096 + 14336)
    assert count == AdapterCount(
        high=7, medium=0, adapters=adapters, full=0, shared=4, share=count.share
    )


def test_layers_that_are_not_selected_part_a_group() -> None:
    result = llama(types=1, snr=dict(enumerate([1.0, 0.9, 1.0] + [1.0] + [0.1] * 8)))
    _, script = recipe(
        "peft-groups", Choice(selection=Selection(result), policy=Policy(percent=25))
    )
    assert constants(script)["GROUPS"] == [[f"model.layers.{i}.mlp.down_proj" for i in (2, 3)]]


@pytest.mark.parametrize(
    "model", ['quote"d', "two\nlines", "back\\slash", '"""', "sur\udc80rogate", "é/é", "folder"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_id_must_be_given(kind: str, model: str) -> None:
    result = llama(model=model)
    _, script = recipe(kind, Choice(selection=Selection(result), policy=Policy(percent=50)))
    assert not {"MODEL", "REVISION"} & set(constants(script))
    assert "def load_base(model" in script and "MODEL" not in script
    script.encode()


def test_an_id_comes_with_its_revision() -> None:
    _, script = recipe("peft-lora", Choice(selection=Selection(llama()), policy=Policy(percent=50)))
    assert constants(script)["MODEL"] == "made/llama"
    assert constants(script)["REVISION"].startswith("8cde5ca83804")
    assert 'revision=REVISION if model == MODEL else "main"' in script


@pytest.mark.parametrize(
    ("naming", "extra", "task"),
    [
        ("transformers 5.23.0 LlamaForCausalLM", (), "CAUSAL_LM"),
        ("GPT2LMHeadModel", (), "CAUSAL_LM"),
        ("the checkpoint", (), "CAUSAL_LM"),
        ("transformers 5.23.0 BertForSequenceClassification", (), None),
        (
            "transformers 5.23.0 T5ForConditionalGeneration",
            ("shared.weight", "decoder.block.0.layer.1.EncDecAttention.q.weight"),
            "SEQ_2_SEQ_LM",
        ),
        (
            "transformers 5.23.0 WhisperForConditionalGeneration",
            ("model.decoder.layers.0.encoder_attn.q_proj.weight",),
            None,
        ),
    ],
)
def test_the_task_is_that_of_the_class(naming: str, extra: tuple[str, ...], task: str) -> None:
    result = llama()
    more = tuple(Parameter(name, (8, 8), "linear") for name in extra)
    result = replace(
        result,
        provenance=replace(result.provenance, naming=naming),
        parameters=(*result.parameters, *more),
    )
    config, script = recipe(
        "peft-lora", Choice(selection=Selection(result), policy=Policy(percent=50))
    )
    assert config["task_type"] == task
    name = "AutoModelForCausalLM" if naming == "the checkpoint" else naming.rsplit(maxsplit=1)[-1]
    assert f"return {name}.from_pretrained(" in script


def test_what_is_known_of_a_ranking_goes_with_it() -> None:
    selection = Selection(llama())
    layers = adapter_layers(selection)
    assert adapter_layers(selection) is layers
    gone = weakref.ref(selection)
    del selection
    gc.collect()
    assert gone() is None
