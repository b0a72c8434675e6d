"""Without transformers' rules, or without a class: fewer names, and never a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import ModelChangedError
from spectrum_tui.core.naming import plan as planning
from spectrum_tui.core.naming import transformers_api
from spectrum_tui.core.naming.plan import plan_parameters
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import Tensors, rewrite
from tests.architectures.tiny import ARCHITECTURES

DENSE = ("mistral", "qwen3", "gpt2", "gemma3_text", "phi3", "opt", "bloom", "t5", "whisper")


@pytest.fixture
def no_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "distrust", lambda: "switched off")


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.usefixtures("no_rules")
def test_a_match_by_suffix_is_never_wrong(name: str, tiny: TinyModels) -> None:
    plan = plan_parameters(read_checkpoint(tiny.folder(name, "published")))
    weights = dict(tiny.model(name).named_parameters(remove_duplicate=False))
    assert plan.naming == "suffix"
    assert "switched off" in plan.banner
    for parameter in plan.parameters:
        if parameter.sources and not parameter.problem:
            values = plan.values[parameter.name].read()
            assert torch.equal(values, weights[parameter.name]), parameter.name
    if name in DENSE:
        assert plan.missing == ()


def test_the_rules_are_trusted_here() -> None:
    assert transformers_api.distrust() == ""


def test_rules_that_join_experts_the_wrong_way_are_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.core_model_loading import Concatenate

    def reversed_order(self: Any, inputs: dict[str, Any], *_: Any, **more: Any) -> dict[str, Any]:
        tensors = list(inputs.values())[::-1]
        return {more["target_patterns"][0]: torch.cat(tensors, dim=self.dim)}

    monkeypatch.setattr(Concatenate, "convert", reversed_order)
    assert transformers_api.distrust.__wrapped__() == "experts are not joined as they should be"


def test_rules_that_are_gone_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import core_model_loading

    monkeypatch.delattr(core_model_loading, "rename_source_key")
    assert "ImportError" in transformers_api.distrust.__wrapped__()


def test_rules_that_break_on_a_model_give_way_to_suffixes(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("changed")

    monkeypatch.setattr(planning, "map_sources", broken)
    plan = plan_parameters(read_checkpoint(tiny.folder("llama")))
    assert (plan.naming, plan.missing) == ("suffix", ())
    assert "changed" in plan.banner


def test_matching_that_breaks_leaves_the_stored_names(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("changed")

    monkeypatch.setattr(planning, "map_sources", broken)
    monkeypatch.setattr(planning, "match_sources", broken)
    plan = plan_parameters(read_checkpoint(tiny.folder("llama")))
    assert (plan.naming, len(plan.parameters)) == ("checkpoint", 21)
    assert "changed" in plan.banner


def test_a_file_that_is_cut_short_meanwhile_is_an_error_of_the_file(
    tiny: TinyModels, tmp_path: Path
) -> None:
    folder = rewrite(tiny.folder("llama_tied", "published"), tmp_path / "m")
    checkpoint = read_checkpoint(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(ModelChangedError, match=r"model\.safetensors"):
        plan_parameters(checkpoint)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "no-such-model"}, "does not know"),
        ({"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}, "never run"),
        ({"model_type": None}, "does not say"),
        ({"hidden_size": "wide"}, "refuses"),
        ({"num_hidden_layers": -1.5}, "refuses"),
    ],
)
def test_without_a_class_the_names_are_those_stored(
    config: dict[str, Any], says: str, tiny: TinyModels, tmp_path: Path
) -> None:
    folder = rewrite(tiny.folder("mixtral"), tmp_path / "m", config=config)
    checkpoint = read_checkpoint(folder)
    plan = plan_parameters(checkpoint)
    assert (plan.naming, plan.model_class) == ("checkpoint", "")
    assert says in plan.banner
    assert {p.name for p in plan.parameters} == {t.name for t in checkpoint.tensors}
    for parameter in plan.parameters:
        assert plan.values[parameter.name].read().shape == parameter.shape


def test_stored_names_know_fused_experts_ties_and_buffers(tiny: TinyModels, tmp_path: Path) -> None:
    def with_buffers(tensors: Tensors) -> Tensors:
        more = {"rotary_emb.inv_freq": torch.ones(4), "lm_head.weight": torch.ones(96, 32)}
        return tensors | more | {"model.embed_tokens.weight": torch.ones(96, 32)}

    config = {"model_type": "no-such-model", "tie_word_embeddings": True}
    folder = rewrite(tiny.folder("mixtral", "fused"), tmp_path / "m", with_buffers, config)
    plan = plan_parameters(read_checkpoint(folder))
    fused = plan.by_name["model.layers.0.mlp.experts.gate_up_proj"]
    assert "rotary_emb.inv_freq" not in plan.by_name
    assert plan.by_name["model.embed_tokens.weight"].aliases == ("lm_head.weight",)
    assert "lm_head.weight" not in plan.by_name
    assert (fused.experts, len(plan.matrices(fused))) == (12, 24)
    assert plan.values[fused.name].can_read_expert()


def test_a_shape_that_disagrees_is_listed(tiny: TinyModels, tmp_path: Path) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    folder = rewrite(tiny.folder("llama"), tmp_path / "m", lambda t: t | {name: t[name][:, :-1]})
    plan = plan_parameters(read_checkpoint(folder))
    parameter = plan.by_name[name]
    assert plan.mismatched == ((name, (32, 47), (32, 48)),)
    assert plan.missing == ()
    assert parameter.unscored == "stored as 32 × 47, the model has 32 × 48"
    assert plan.matrices(parameter) == ()


@pytest.mark.parametrize("drop", ["a tensor", "an expert", "a row"])
def test_experts_that_do_not_fit_are_listed(drop: str, tiny: TinyModels, tmp_path: Path) -> None:
    def damage(tensors: Tensors) -> Tensors:
        gates = sorted(n for n in tensors if "layers.0" in n and "experts.3." in n)
        if drop == "a row":
            return tensors | {gates[0]: tensors[gates[0]][:-1]}
        gone = gates if drop == "an expert" else gates[:1]
        return {n: t for n, t in tensors.items() if n not in gone}

    folder = rewrite(tiny.folder("mixtral"), tmp_path / "m", damage)
    plan = plan_parameters(read_checkpoint(folder))
    names = {name for name, *_ in plan.mismatched}
    assert names and all(".layers.0.mlp.experts." in name for name in names)
    assert all(plan.by_name[name].problem for name in names)
    assert all(plan.matrices(plan.by_name[name]) == () for name in names)


def test_what_is_not_stored_is_missing(tiny: TinyModels, tmp_path: Path) -> None:
    folder = rewrite(
        tiny.folder("llama"),
        tmp_path / "m",
        lambda t: {n: v for n, v in t.items() if n != "lm_head.weight"},
    )
    plan = plan_parameters(read_checkpoint(folder))
    assert plan.missing == ("lm_head.weight",)
    assert plan.by_name["lm_head.weight"].unscored == "not stored in the checkpoint"


def test_what_the_class_does_not_want_is_ignored(tiny: TinyModels) -> None:
    plan = plan_parameters(read_checkpoint(tiny.folder("deepseek_v3", "published")))
    assert plan.unexpected == ()
    assert plan.ignored and all(".layers.61." in name for name in plan.ignored)
    bert = plan_parameters(read_checkpoint(tiny.folder("bert", "published")))
    assert "cls.seq_relationship.weight" in bert.unexpected
