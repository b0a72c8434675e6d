"""Llama 3.1 405B and Mixtral 8x22B, GLM-4.6 and MiniMax-M2, gpt-oss-120b and Llama 4 Maverick."""

from __future__ import annotations

from collections.abc import Iterator

from tests.giants.parts import (
    FP8,
    Giant,
    Stored,
    attention,
    configuration,
    ends,
    experts_of,
    in_fp8,
    mlp,
    next_token,
    norms,
    of_layers,
    query_norms,
    w_experts,
    weights,
)


def llama_405b() -> Giant:
    hidden, inner, vocabulary, layers = 16384, 53248, 128256, 126

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 128, 8, 128)
        yield from mlp(f"{p}mlp.", hidden, inner)
        yield from norms(p, hidden)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers, layer)

    config = configuration(
        "LlamaForCausalLM",
        "llama",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        vocab_size=vocabulary,
        num_attention_heads=128,
        num_key_value_heads=8,
    )
    return Giant(config=config, tensors=tensors, shards=191, parameters=405.85)


def mixtral_8x22b() -> Giant:
    hidden, inner, vocabulary, layers, experts = 6144, 16384, 32000, 56, 8

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 48, 8, 128)
        yield from norms(p, hidden)
        yield from weights(f"{p}block_sparse_moe.", gate=(experts, hidden))
        yield from w_experts(f"{p}block_sparse_moe.", experts, hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers, layer)

    config = configuration(
        "MixtralForCausalLM",
        "mixtral",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_experts_per_tok=2,
        vocab_size=vocabulary,
        num_attention_heads=48,
        num_key_value_heads=8,
    )
    return Giant(config=config, tensors=tensors, shards=59, parameters=140.63)


def glm_4_6() -> Giant:
    hidden, inner, vocabulary, layers, experts = 5120, 1536, 151552, 92, 160

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 96, 8, 128, biased="qkv")
        yield from query_norms(p, 128, 128)
        yield from norms(p, hidden)
        if number < 3:
            yield from mlp(f"{p}mlp.", hidden, 12288)
            return
        yield from weights(f"{p}mlp.", gate=(experts, hidden))
        yield f"{p}mlp.gate.e_score_correction_bias", (experts,), "F32"
        yield from experts_of(f"{p}mlp.", experts, hidden, inner)
        yield from mlp(f"{p}mlp.shared_experts.", hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers + 1, layer)
        yield from next_token(f"model.layers.{layers}.", hidden, vocabulary)

    config = configuration(
        "Glm4MoeForCausalLM",
        "glm4_moe",
        hidden_size=hidden,
        intermediate_size=12288,
        moe_intermediate_size=inner,
        num_hidden_layers=layers,
        n_routed_experts=experts,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=3,
        vocab_size=vocabulary,
        num_attention_heads=96,
        num_key_value_heads=8,
        head_dim=128,
        attention_bias=True,
        use_qk_norm=True,
        num_nextn_predict_layers=1,
        partial_rotary_factor=0.5,
    )
    return Giant(config=config, tensors=tensors, shards=93, parameters=352.8)


def minimax_m2() -> Giant:
    hidden, inner, vocabulary, layers, experts = 3072, 1536, 200064, 62, 256

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 48, 8, 128)
        yield from query_norms(p, 48 * 128, 8 * 128)
        yield from norms(p, hidden)
        moe = f"{p}block_sparse_moe."
        yield f"{moe}gate.weight", (experts, hidden), "F32"
        yield f"{moe}e_score_correction_bias", (experts,), "F32"
        yield from w_experts(moe, experts, hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from in_fp8(of_layers(layers, layer))

    config = configuration(
        "MiniMaxM2ForCausalLM",
        "minimax_m2",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_experts_per_tok=8,
        vocab_size=vocabulary,
        num_attention_heads=48,
        num_key_value_heads=8,
        head_dim=128,
        rotary_dim=64,
        use_qk_norm=True,
        use_mtp=True,
        num_mtp_modules=3,
        auto_map={"AutoConfig": "configuration_minimax_m2.MiniMaxM2Config"},
        quantization_config=FP8,
    )
    return Giant(config=config, tensors=tensors, shards=130, parameters=228.7)


def gpt_oss_120b() -> Giant:
    hidden, inner, vocabulary, layers, experts = 2880, 2880, 201088, 36, 128

    def packed(name: str, rows: int, columns: int) -> Iterator[Stored]:
        """Yield matrices in MXFP4: two values in a byte, 32 of them with a scale."""
        yield f"{name}_blocks", (experts, rows, columns // 32, 16), "U8"
        yield f"{name}_scales", (experts, rows, columns // 32), "U8"
        yield f"{name}_bias", (experts, rows), "BF16"

    def layer(number: int, p: str) -> Iterator[Stored]:
        yield from attention(p, hidden, 64, 8, 64, biased="qkvo")
        yield f"{p}self_attn.sinks", (64,), "BF16"
        yield from norms(p, hidden)
        yield from weights(f"{p}mlp.", router=(experts, hidden))
        yield f"{p}mlp.router.bias", (experts,), "BF16"
        yield from packed(f"{p}mlp.experts.gate_up_proj", 2 * inner, hidden)
        yield from packed(f"{p}mlp.experts.down_proj", hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary)
        yield from of_layers(layers, layer)

    config = configuration(
        "GptOssForCausalLM",
        "gpt_oss",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_experts_per_tok=4,
        vocab_size=vocabulary,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
        attention_bias=True,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        quantization_config={"quant_method": "mxfp4"},
    )
    return Giant(config=config, tensors=tensors, shards=14, parameters=116.83)


def llama_4_maverick() -> Giant:
    hidden, inner, vocabulary, layers, experts = 5120, 8192, 202048, 48, 128
    language = "language_model."

    def layer(number: int, p: str) -> Iterator[Stored]:
        p = f"{language}{p}"
        yield from attention(p, hidden, 40, 8, 128)
        yield from norms(p, hidden)
        p = f"{p}feed_forward."
        if number % 2 == 0:
            yield from mlp(p, hidden, 2 * inner)
            return
        yield from weights(p, router=(experts, hidden))
        yield f"{p}experts.gate_up_proj", (experts, hidden, 2 * inner), "BF16"
        yield f"{p}experts.down_proj", (experts, inner, hidden), "BF16"
        yield from mlp(f"{p}shared_expert.", hidden, inner)

    def tensors() -> Iterator[Stored]:
        yield from ends(hidden, vocabulary, language)
        yield from of_layers(layers, layer)
        yield from weights("multi_modal_projector.", linear_1=(hidden, 4096))
        yield from _llama_4_vision("vision_model.")

    text = {
        "model_type": "llama4_text",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "intermediate_size_mlp": 2 * inner,
        "num_hidden_layers": layers,
        "num_local_experts": experts,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "vocab_size": vocabulary,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "use_qk_norm": False,
    }
    vision = {
        "model_type": "llama4_vision_model",
        "hidden_size": 1408,
        "intermediate_size": 5632,
        "num_hidden_layers": 34,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 4096,
        "projector_output_dim": 4096,
        "vision_output_dim": 4096,
    }
    name = "Llama4ForConditionalGeneration"
    config = configuration(name, "llama4", text_config=text, vision_config=vision)
    return Giant(config=config, tensors=tensors, shards=55, parameters=401.58)


def _llama_4_vision(tower: str) -> Iterator[Stored]:
    width, inner = 1408, 5632

    def biased(name: str, *shape: int) -> Iterator[Stored]:
        yield f"{name}.weight", shape, "BF16"
        yield f"{name}.bias", shape[:1], "BF16"

    yield f"{tower}class_embedding", (width,), "BF16"
    yield f"{tower}positional_embedding_vlm", (577, width), "BF16"
    yield from weights(tower, patch_embedding__linear=(width, 588))
    yield from biased(f"{tower}layernorm_pre", width)
    yield from biased(f"{tower}layernorm_post", width)
    for number in range(34):
        p = f"{tower}model.layers.{number}."
        for part in "qkvo":
            yield from biased(f"{p}self_attn.{part}_proj", width, width)
        yield from biased(f"{p}mlp.fc1", inner, width)
        yield from biased(f"{p}mlp.fc2", width, inner)
        yield from biased(f"{p}input_layernorm", width)
        yield from biased(f"{p}post_attention_layernorm", width)
    yield from weights(f"{tower}vision_adapter.mlp.", fc1=(4096, inner), fc2=(4096, 4096))
