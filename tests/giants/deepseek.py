"""DeepSeek-V3, and Kimi-K2, which is built like it under a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.giants.parts import (
    FP8,
    Giant,
    Stored,
    configuration,
    ends,
    experts_of,
    in_fp8,
    mlp,
    next_token,
    norms,
    of_layers,
    weights,
)


def _deepseek(
    *, experts: int, heads: int, dense: int, vocabulary: int, more: bool, **config: Any
) -> tuple[dict[str, Any], Callable[[], Iterator[Stored]]]:
    """Return configuration and tensors of DeepSeek-V3 and its kin; `more` for a layer that
    predicts one more token."""
    layers, hidden, inner, width = 61, 7168, 2048, 128
    query, key, rope = 1536, 512, 64

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from weights(
            f"{p}self_attn.",
            q_a_proj=(query, hidden),
            q_b_proj=(heads * (width + rope), query),
            kv_a_proj_with_mqa=(key + rope, hidden),
            kv_b_proj=(heads * 2 * width, key),
            o_proj=(hidden, heads * width),
            q_a_layernorm=(query,),
            kv_a_layernorm=(key,),
        )
        yield from norms(p, hidden)
        if number < dense:
            yield from mlp(f"{p}mlp.", hidden, 18432)
            return
        yield from weights(f"{p}mlp.", gate=(experts, hidden))
        yield f"{p}mlp.gate.e_score_correction_bias", (experts,), "F32"
        yield from experts_of(f"{p}mlp.", experts, hidden, inner)
        yield from mlp(f"{p}mlp.shared_experts.", hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from in_fp8(of_layers(layers + more, layer))
        if more:
            yield from next_token(f"model.layers.{layers}.", hidden, vocabulary)

    values = {
        "hidden_size": hidden,
        "intermediate_size": 18432,
        "moe_intermediate_size": inner,
        "num_hidden_layers": layers,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": dense,
        "q_lora_rank": query,
        "kv_lora_rank": key,
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": width,
        "v_head_dim": width,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": vocabulary,
        "n_group": 8,
        "topk_group": 4,
        "num_nextn_predict_layers": int(more),
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
        "quantization_config": FP8,
    }
    made = configuration("DeepseekV3ForCausalLM", "deepseek_v3", **values)
    return made | config, tensors


def deepseek_v3() -> Giant:
    config, tensors = _deepseek(experts=256, heads=128, dense=3, vocabulary=129280, more=True)
    return Giant(config=config, tensors=tensors, shards=163, parameters=671.03)


def kimi_k2() -> Giant:
    config, tensors = _deepseek(
        experts=384, heads=64, dense=1, vocabulary=163840, more=False, model_type="kimi_k2"
    )
    return Giant(config=config, tensors=tensors, shards=61, parameters=1026.4)
