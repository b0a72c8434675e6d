"""Which class is built: the trainers' rule, an override, and nothing that config.json makes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.naming.model_class import NoModelClassError, Reason, empty_model
from spectrum_tui.core.naming.plan import plan_parameters
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import rewrite


def class_for(folder: Path, **config: Any) -> str:
    checkpoint = read_checkpoint(folder)
    return type(empty_model({**checkpoint.config, **config})).__name__


@pytest.mark.parametrize(
    ("name", "architectures", "wanted"),
    [
        ("llama", ["LlamaForCausalLM"], "LlamaForCausalLM"),
        ("llama", None, "LlamaForCausalLM"),
        ("llama", [], "LlamaForCausalLM"),
        ("llama", ["LLaMAForCausalLM"], "LlamaForCausalLM"),
        ("llama", ["Trainer"], "LlamaForCausalLM"),
        ("llama", ["PreTrainedModel"], "LlamaForCausalLM"),
        ("llama", ["__import__('os')"], "LlamaForCausalLM"),
        ("llama", ["_private", "LlamaForSequenceClassification"], "LlamaForSequenceClassification"),
        ("llama", ["BertForMaskedLM"], "LlamaForCausalLM"),
        ("t5", ["T5WithLMHeadModel"], "T5ForConditionalGeneration"),
        ("gemma3", None, "Gemma3ForConditionalGeneration"),
        ("vit", None, "ViTForImageClassification"),
        ("clip", None, "CLIPModel"),
    ],
)
def test_the_rule(
    name: str, architectures: list[str] | None, wanted: str, tiny: TinyModels
) -> None:
    assert class_for(tiny.folder(name), architectures=architectures) == wanted


@pytest.mark.parametrize("architectures", [7, "LlamaModel", {"a": 1}, [7], [None]])
def test_what_is_no_list_of_names_is_not_followed(
    architectures: object, tiny: TinyModels, tmp_path: Path
) -> None:
    config = {"architectures": architectures}
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config=config)
    plan = plan_parameters(read_checkpoint(folder))
    assert len(plan.parameters) == 21
    # Older versions of transformers refuse such a configuration, newer ones look past it.
    assert plan.model_class == "LlamaForCausalLM" or "refuses" in plan.banner


@pytest.mark.parametrize("name", ["llama4", "qwen3_5", "whisper", "bart", "llama"])
def test_an_override_has_the_names_of_that_class(name: str, tiny: TinyModels) -> None:
    folder = tiny.folder(name)
    plan = plan_parameters(read_checkpoint(folder), model_class="AutoModelForCausalLM")
    model, info = load_as_a_trainer(folder, "AutoModelForCausalLM")
    assert [p.name for p in plan.parameters] == [n for n, _ in model.named_parameters()]
    assert plan.model_class == type(model).__name__
    aliases = {alias for p in plan.parameters for alias in p.aliases}
    buffers = {name for name, _ in model.named_buffers()}
    assert set(plan.missing) == set(info["missing_keys"]) - buffers - aliases


def test_an_override_may_name_a_class(tiny: TinyModels) -> None:
    checkpoint = read_checkpoint(tiny.folder("llama"))
    plan = plan_parameters(checkpoint, model_class="LlamaForSequenceClassification")
    assert plan.missing == ("score.weight",)
    assert plan.unexpected == ("lm_head.weight",)


@pytest.mark.parametrize(
    "override", ["BertForMaskedLM", "Nonsense", "AutoModelForObjectDetection", "AutoNothing", "a b"]
)
def test_an_override_that_does_not_fit_is_the_users_error(override: str, tiny: TinyModels) -> None:
    with pytest.raises(InputError, match="not a model class") as caught:
        plan_parameters(read_checkpoint(tiny.folder("llama")), model_class=override)
    assert caught.value.field == "model_class"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, Reason.NO_MODEL_TYPE),
        ({"model_type": ""}, Reason.NO_MODEL_TYPE),
        ({"model_type": 7}, Reason.NO_MODEL_TYPE),
        ({"model_type": "no-such-model"}, Reason.UNKNOWN_MODEL_TYPE),
        ({"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}, Reason.CUSTOM_CODE),
        ({"auto_map": {"AutoConfig": "a.B"}}, Reason.CUSTOM_CODE),
        ({"model_type": "llama", "hidden_size": "wide"}, Reason.CANNOT_BUILD),
        ({"model_type": "llama", "num_attention_heads": 0}, Reason.CANNOT_BUILD),
        ({"model_type": "llama", "num_hidden_layers": 10**6}, Reason.CANNOT_BUILD),
        ({"model_type": "qwen3_moe", "num_experts": 10**6}, Reason.CANNOT_BUILD),
        ({"model_type": "llama", "num_hidden_layers": -1.5}, Reason.CANNOT_BUILD),
    ],
)
def test_reasons(config: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(NoModelClassError) as caught:
        empty_model(config)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_a_known_model_with_code_of_its_own_runs_none_of_it(
    tiny: TinyModels, tmp_path: Path
) -> None:
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", config={"auto_map": auto_map})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    plan = plan_parameters(read_checkpoint(folder))
    assert plan.model_class == "LlamaForCausalLM"
    assert not (tmp_path / "ran").exists()


def test_a_missing_package_is_named(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    def needs_timm(*_: object) -> None:
        raise ImportError("\nLlamaForCausalLM requires the timm library but it was not found.\n")

    checkpoint = read_checkpoint(tiny.folder("llama"))
    monkeypatch.setattr(LlamaForCausalLM, "__init__", needs_timm)
    plan = plan_parameters(checkpoint)
    assert plan.naming == "checkpoint"
    assert "timm" in plan.banner
    assert "\n" not in plan.banner
