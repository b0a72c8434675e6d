"""Types, groups and the order of the tree, by names as real checkpoints have them."""

from __future__ import annotations

import random

import pytest

from spectrum_tui.core import layer_types
from spectrum_tui.core.layer_types import (
    Group,
    TypeInfo,
    family,
    group_of,
    in_tree_order,
    is_input_embedding,
    is_output_head,
    layer_type,
    natural_key,
)


def reference_type(name: str) -> str:
    """What the reference tool does: everything after the first numeric part of the path."""
    parts = name.split(".")
    return next((".".join(parts[i + 1 :]) for i, p in enumerate(parts) if p.isdigit()), name)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("model.layers.7.mlp.down_proj", "mlp.down_proj"),
        ("model.layers.31.self_attn.q_proj", "self_attn.q_proj"),
        ("transformer.h.0.attn.c_attn", "attn.c_attn"),
        ("encoder.layer.11.attention.output.dense", "attention.output.dense"),
        ("decoder.block.2.layer.1.EncDecAttention.q", "layer.1.EncDecAttention.q"),
        ("lm_head", "lm_head"),
        ("model.embed_tokens", "model.embed_tokens"),
        ("a[/b][red]", "a[/b][red]"),
    ],
)
def test_type_is_the_reference_tools(layer: str, expected: str) -> None:
    assert (
        layer_type(layer) == expected == reference_type(layer) == layer_types.reference_type(layer)
    )


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("model.layers.3.mlp.experts.17.w1", "mlp.experts.*.w1"),
        ("model.layers.3.mlp.shared_experts.0.w1", "mlp.shared_experts.*.w1"),
        ("encoder.layers.1.ffn.experts.expert_3.fc1", "ffn.experts.expert_*.fc1"),
        ("model.layers.3.mlp.experts.17", "mlp.experts.*"),
        ("model.layers.3.mlp.experts.w1", "mlp.experts.w1"),
        ("experts.3.w1", "experts.*.w1"),
    ],
)
def test_an_expert_index_never_splits_a_type(layer: str, expected: str) -> None:
    assert layer_type(layer) == expected


@pytest.mark.parametrize("layer", ["proj.2", "0", "a.1", "blocks.12"])
def test_a_container_of_bare_layers_gets_a_type_that_is_not_empty(layer: str) -> None:
    assert reference_type(layer) == ""  # which there would match every layer of the model
    assert layer_type(layer).strip(".")
    assert layer_type(layer).endswith("*")


def test_bare_layers_of_one_container_share_a_type() -> None:
    assert len({layer_type(f"proj.{i}") for i in range(5)}) == 1


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("self_attn.q_proj", Group.ATTENTION),
        ("self_attn.qkv_proj", Group.ATTENTION),
        ("attn.c_attn", Group.ATTENTION),
        ("attention.self.query", Group.ATTENTION),
        ("mlp.down_proj", Group.MLP),
        ("feed_forward.w1", Group.MLP),
        ("mlp.c_fc", Group.MLP),
        ("intermediate.dense", Group.MLP),
        ("mlp.experts.3.up_proj", Group.EXPERTS),
        ("block_sparse_moe.experts.0.w2", Group.EXPERTS),
        ("block_sparse_moe.gate", Group.EXPERTS),
        ("mlp.gate", Group.EXPERTS),
        ("mlp.router", Group.EXPERTS),
        ("feed_forward.router", Group.EXPERTS),
        ("block_sparse_moe.router.layer", Group.EXPERTS),
        ("mixer.gate", Group.EXPERTS),
        ("vision:fc1", Group.MLP),
        ("vision:ln_q", Group.NORMS),
        ("mlp.shared_expert.up_proj", Group.EXPERTS),
        ("mlp.gate_proj", Group.MLP),
        ("input_layernorm", Group.NORMS),
        ("self_attn.q_norm", Group.NORMS),
        ("ln_1", Group.NORMS),
        ("model.norm", Group.NORMS),
        ("model.embed_tokens", Group.EMBEDDINGS),
        ("transformer.wte", Group.EMBEDDINGS),
        ("lm_head", Group.EMBEDDINGS),
        ("score", Group.OTHER),
        ("a[/b][red]", Group.OTHER),
    ],
)
def test_group(name: str, group: Group) -> None:
    assert group_of(name) is group


@pytest.mark.parametrize(
    "layer",
    [
        "model.embed_tokens",
        "transformer.wte",
        "gpt_neox.embed_in",
        "embeddings.word_embeddings",
        "shared",
        "language_model.model.embed_tokens",
    ],
)
def test_input_embeddings(layer: str) -> None:
    assert is_input_embedding(layer)
    assert not is_output_head(layer)


@pytest.mark.parametrize("layer", ["lm_head", "embed_out", "language_model.lm_head"])
def test_output_heads(layer: str) -> None:
    assert is_output_head(layer)
    assert not is_input_embedding(layer)


@pytest.mark.parametrize(
    "layer",
    ["transformer.wpe", "embeddings.position_embeddings", "mlp.shared_expert", "not_lm_head.x"],
)
def test_neither_embedding_nor_head(layer: str) -> None:
    assert not is_input_embedding(layer)
    assert not is_output_head(layer)


def test_family_joins_experts_and_nothing_else() -> None:
    assert family("mlp.experts.17.down_proj") == family("mlp.experts.3.down_proj")
    assert family("mlp.experts.17.down_proj") != family("mlp.experts.17.up_proj")
    assert family("mlp.experts.17.w1") != family("mlp.experts.17.w2")
    assert family("self_attn.q_proj") == "self_attn.q_proj"


def test_natural_order() -> None:
    names = [f"model.layers.{i}.mlp.w{j}" for i in range(12) for j in (1, 2, 10)]
    mixed = names[:]
    random.Random(3).shuffle(mixed)
    assert sorted(mixed, key=natural_key) == names


@pytest.mark.parametrize("name", ["", "x", "²", "1²2", "a.٣.b", "7", "a.²", "\n1"])
def test_every_name_has_an_order_a_type_and_a_group(name: str) -> None:
    assert sorted([name, "model.layers.2.x"], key=natural_key)
    assert isinstance(layer_type(name), str)
    assert group_of(name) in Group


def test_tree_order_is_by_group_then_natural() -> None:
    names = [
        "mlp.experts.10.w1",
        "lm_head",
        "input_layernorm",
        "mlp.experts.9.w1",
        "mlp.up_proj",
        "self_attn.v_proj",
        "self_attn.k_proj",
        "score",
    ]
    types = [
        TypeInfo(name=name, group=group_of(name), layers=1, parameters=1, cost=1.0)
        for name in names
    ]
    assert [t.name for t in in_tree_order(types)] == [
        "self_attn.k_proj",
        "self_attn.v_proj",
        "mlp.up_proj",
        "mlp.experts.9.w1",
        "mlp.experts.10.w1",
        "lm_head",
        "input_layernorm",
        "score",
    ]
