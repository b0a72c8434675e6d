"""What is told of models before a scan, for the pictures: made by hand, never read."""

from __future__ import annotations

from dataclasses import replace

from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.requests import Kept, ModelSummary
from tests import made

MODEL = "made/llama-8b"
DEPTH = 32


def in_bf16(*types: TypeInfo) -> tuple[TypeInfo, ...]:
    """The types, stored in two bytes a parameter."""
    return tuple(replace(info, nbytes=2 * info.parameters) for info in types)


def llama() -> ModelSummary:
    """What headers tell about a model of 8 B."""
    groups = {"mlp": Group.MLP, "self_attn": Group.ATTENTION}
    matrices = [
        TypeInfo(
            name=name,
            group=groups[name.split(".")[0]],
            layers=DEPTH,
            parameters=DEPTH * rows * columns,
            cost=rows / 400,
        )
        for name, rows, columns in made.TYPES
    ]
    norms = [
        TypeInfo(
            name=name,
            group=Group.NORMS,
            layers=DEPTH,
            parameters=DEPTH * 4096,
            cost=0.0,
            one_dimensional=True,
        )
        for name in ("input_layernorm", "post_attention_layernorm")
    ]
    head = [
        TypeInfo(name=name, group=Group.EMBEDDINGS, layers=1, parameters=128256 * 4096, cost=12.0)
        for name in ("model.embed_tokens", "lm_head")
    ]
    return ModelSummary(
        model=MODEL,
        origin="cache",
        folder="/models/llama",
        revision="8cde5ca8380496c9a6cc7ef3a8b46a0372a1d920",
        architecture="LlamaForCausalLM",
        parameters=8_030_261_248,
        tensors=291,
        shards=4,
        nbytes=16_060_522_496,
        local_bytes=16_060_522_496,
        dtypes={"BF16": 16_060_522_496},
        types=in_bf16(*matrices, *norms, *head),
        name=MODEL,
        naming="transformers 5.23.0 LlamaForCausalLM",
        model_class="LlamaForCausalLM",
    )


def mixture() -> ModelSummary:
    """A model of 160 experts a layer, with what is worth knowing about it."""
    experts = [
        TypeInfo(
            name=f"mlp.experts.{expert}.{part}_proj",
            group=Group.EXPERTS,
            layers=24,
            parameters=24 * 7_864_320,
            cost=1.2,
        )
        for expert in range(160)
        for part in ("down", "gate", "up")
    ]
    gate = TypeInfo(
        name="mlp.gate", group=Group.EXPERTS, layers=24, parameters=24 * 819_200, cost=0.4
    )
    plain = llama()
    return replace(
        plain,
        model="made/mixture",
        name="made/mixture",
        types=(*plain.types, *in_bf16(*experts, gate)),
        parameters=98_600_000_000,
        nbytes=197_200_000_000,
        local_bytes=197_200_000_000,
        scored={"mlp.experts.0.down_proj": 24, "mlp.experts.0.up_proj": 13},
        kept={
            "mlp.experts.0.down_proj": Kept(nbytes=24 * 2 * 7_864_320, cost=1.2),
            "mlp.experts.0.up_proj": Kept(nbytes=13 * 2 * 7_864_320, cost=0.65),
        },
        skipped=(("model.rotary.inv_freq", "a buffer, not a parameter"),),
    )


def towers() -> ModelSummary:
    """A model that sees: a vision tower, a projector, and a language model of fused experts."""
    seeing = [
        TypeInfo(
            name=f"vision:{name}",
            group=group,
            layers=27,
            parameters=27 * size,
            cost=1.5,
            tower="vision",
        )
        for name, group, size in (
            ("self_attn.q_proj", Group.ATTENTION, 1_327_104),
            ("self_attn.out_proj", Group.ATTENTION, 1_327_104),
            ("mlp.fc1", Group.MLP, 4_958_208),
            ("mlp.fc2", Group.MLP, 4_958_208),
        )
    ]
    between = TypeInfo(
        name="projector:linear_1",
        group=Group.OTHER,
        layers=1,
        parameters=4_718_592,
        cost=0.3,
        tower="projector",
    )
    fused = [
        TypeInfo(
            name=name,
            group=Group.EXPERTS,
            layers=48,
            parameters=48 * size,
            cost=cost,
            experts=128,
            tower="language",
        )
        for name, size, cost in (
            ("mlp.experts.down_proj", 201_326_592, 90.0),
            ("mlp.experts.gate_up_proj", 402_653_184, 180.0),
        )
    ]
    plain = llama()
    language = [replace(one, tower="language") for one in plain.types if "mlp" not in one.name]
    return replace(
        plain,
        model="made/seeing-mixture",
        name="made/seeing-mixture",
        types=(*language, *in_bf16(*fused, *seeing, between)),
        parameters=31_700_000_000,
        nbytes=63_400_000_000,
        local_bytes=63_400_000_000,
        architecture="SeeingForConditionalGeneration",
        model_class="SeeingForConditionalGeneration",
        naming="transformers 5.23.0 SeeingForConditionalGeneration",
    )


def remote() -> ModelSummary:
    """A model that is not on this machine."""
    return replace(llama(), origin="hub", folder="", local_bytes=0, naming="", model_class="")


def too_large() -> ModelSummary:
    """A model that is not on this machine, whose disk has no room for it."""
    seeing = towers()
    return replace(
        seeing,
        origin="hub",
        folder="",
        local_bytes=0,
        free=48_200_000_000,
        skipped=(),
    )
