"""Qwen3-235B-A22B and Qwen3-Next-80B-A3B, whose experts are listed."""

from __future__ import annotations

from collections.abc import Iterator

from tests.giants.parts import (
    Giant,
    Stored,
    attention,
    configuration,
    ends,
    experts_of,
    mlp,
    norms,
    of_layers,
    query_norms,
    weights,
)


def qwen3_235b() -> Giant:
    hidden, inner, vocabulary, layers, experts = 4096, 1536, 151936, 94, 128

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 64, 4, 128)
        yield from query_norms(p, 128, 128)
        yield from norms(p, hidden)
        yield from weights(f"{p}mlp.", gate=(experts, hidden))
        yield from experts_of(f"{p}mlp.", experts, hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers, layer)

    config = configuration(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        hidden_size=hidden,
        intermediate_size=12288,
        moe_intermediate_size=inner,
        num_hidden_layers=layers,
        num_experts=experts,
        num_experts_per_tok=8,
        vocab_size=vocabulary,
        num_attention_heads=64,
        num_key_value_heads=4,
        head_dim=128,
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    return Giant(config=config, tensors=tensors, shards=118, parameters=235.09)


def qwen3_next() -> Giant:
    hidden, inner, vocabulary, layers, experts = 2048, 512, 151936, 48, 512
    keys, values = 16 * 128, 32 * 128

    def linear_attention(p: str) -> Iterator[Stored]:
        yield from weights(
            f"{p}linear_attn.",
            in_proj_qkvz=(2 * keys + 2 * values, hidden),
            in_proj_ba=(2 * 32, hidden),
            conv1d=(2 * keys + values, 1, 4),
            norm=(128,),
            out_proj=(hidden, values),
        )
        yield f"{p}linear_attn.A_log", (32,), "BF16"
        yield f"{p}linear_attn.dt_bias", (32,), "BF16"

    def full_attention(p: str) -> Iterator[Stored]:
        # The query comes with its gate: twice as many rows.
        yield from weights(f"{p}self_attn.", q_proj=(2 * 16 * 256, hidden))
        yield from (t for t in attention(p, hidden, 16, 2, 256) if "q_proj" not in t[0])
        yield from query_norms(p, 256, 256)

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from full_attention(p) if number % 4 == 3 else linear_attention(p)
        yield from norms(p, hidden)
        yield from weights(f"{p}mlp.", gate=(experts, hidden), shared_expert_gate=(1, hidden))
        yield from experts_of(f"{p}mlp.", experts, hidden, inner)
        yield from mlp(f"{p}mlp.shared_expert.", hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers, layer)
        before = {"pre_fc_norm_embedding": (hidden,), "pre_fc_norm_hidden": (hidden,)}
        yield from weights("mtp.", fc=(hidden, 2 * hidden), norm=(hidden,), **before)
        yield from layer(3, "mtp.layers.0.")

    config = configuration(
        "Qwen3NextForCausalLM",
        "qwen3_next",
        hidden_size=hidden,
        intermediate_size=5120,
        moe_intermediate_size=inner,
        shared_expert_intermediate_size=inner,
        num_hidden_layers=layers,
        num_experts=experts,
        num_experts_per_tok=10,
        vocab_size=vocabulary,
        num_attention_heads=16,
        num_key_value_heads=2,
        head_dim=256,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        full_attention_interval=4,
        linear_conv_kernel_dim=4,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_num_key_heads=16,
        linear_num_value_heads=32,
        partial_rotary_factor=0.25,
    )
    return Giant(config=config, tensors=tensors, shards=41, parameters=79.67)
