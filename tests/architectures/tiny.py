"""One tiny model for each architecture, made from a configuration: nothing is downloaded.

`ARCHITECTURES["mixtral"].build()` is a Mixtral of two layers and four experts with random
weights. Sizes differ from each other wherever the architecture lets them, so that a matrix that
is turned or cut the wrong way cannot look right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

Options = dict[str, Any]

TEXT: Options = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
HEADS: Options = {"head_dim": 8}
FOUR_LAYERS: Options = {**TEXT, "num_hidden_layers": 4}
ENCODER: Options = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
VISION: Options = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
}  # fmt: skip
MOE: Options = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LOCAL: Options = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED: Options = {
    "moe_intermediate_size": 24, "n_routed_experts": 4, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "first_k_dense_replace": 1,
}  # fmt: skip
LATENT: Options = {
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
LINEAR: Options = {
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
ROPE: Options = {
    "rope_parameters": {
        "rope_type": "default", "type": "default", "mrope_section": [1, 1, 2],
        "rope_theta": 10000.0,
    }
}  # fmt: skip
QWEN_VISION: Options = {
    "depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4,
    "intermediate_size": 48, "patch_size": 8,
}  # fmt: skip
QWEN3_VISION: Options = {**QWEN_VISION, "num_position_embeddings": 16}
LLAMA4: Options = {
    **TEXT, **HEADS, "intermediate_size_mlp": 40, "num_local_experts": 4,
    "num_experts_per_tok": 1, "interleave_moe_layer_step": 1,
}  # fmt: skip
SPEECH: Options = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
}  # fmt: skip
UNTIED: Options = {"tie_word_embeddings": False}
TIED: Options = {"tie_word_embeddings": True}


@dataclass(frozen=True)
class Architecture:
    """A model class, its configuration class and what to give it."""

    model: str
    config: str
    options: Options

    @property
    def available(self) -> bool:
        """Whether the installed transformers has it."""
        import transformers

        return hasattr(transformers, self.config) and hasattr(transformers, self.model)

    def build(self) -> Any:
        """The model with random weights, the same in every run."""
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.options)
        model = getattr(transformers, self.model)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.02 * torch.randn_like(parameter) + (parameter.ndim == 1))
        return model


def _text(name: str, *options: Options, model: str = "") -> Architecture:
    merged = {key: value for group in options for key, value in group.items()}
    return Architecture(model or f"{name}ForCausalLM", f"{name}Config", merged)


def _other(model: str, config: str, *options: Options) -> Architecture:
    merged = {key: value for group in options for key, value in group.items()}
    return Architecture(model, f"{config}Config", merged)


ARCHITECTURES: dict[str, Architecture] = {
    # dense language models
    "llama": _text("Llama", TEXT, UNTIED),
    "llama_tied": _text("Llama", TEXT, TIED),
    "mistral": _text("Mistral", TEXT, HEADS),
    "qwen2": _text("Qwen2", TEXT, TIED),
    "qwen3": _text("Qwen3", TEXT, HEADS, TIED),
    "gemma2": _text("Gemma2", TEXT, HEADS, TIED),
    "gemma3_text": _other("Gemma3ForCausalLM", "Gemma3Text", TEXT, HEADS),
    "phi3": _text("Phi3", TEXT),
    "granite": _text("Granite", TEXT),
    "cohere2": _text("Cohere2", TEXT, {"layer_types": ["sliding_attention", "full_attention"]}),
    "smollm3": _text("SmolLM3", TEXT),
    "olmo2": _text("Olmo2", TEXT),
    "gpt2": _other(
        "GPT2LMHeadModel",
        "GPT2",
        {"vocab_size": 96, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
    ),
    "gpt_neox": _text("GPTNeoX", ENCODER),
    "falcon": _text(
        "Falcon",
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "opt": _text(
        "OPT",
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 48},
        {"num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 32},
    ),
    "bloom": _text("Bloom", {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mamba": _text(
        "Mamba",
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2},
        {"state_size": 4, "time_step_rank": 2},
    ),
    "mamba2": _text(
        "Mamba2",
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1},
    ),
    # experts
    # more than ten experts: in the order of their names, 10 comes before 2
    "mixtral": _text("Mixtral", TEXT, HEADS, LOCAL, {"num_local_experts": 12}),
    "qwen2_moe": _text("Qwen2Moe", TEXT, MOE, {"shared_expert_intermediate_size": 40}),
    "qwen3_moe": _text("Qwen3Moe", TEXT, HEADS, MOE),
    "olmoe": _text("Olmoe", TEXT, {"num_experts": 4, "num_experts_per_tok": 2}),
    "phimoe": _text("Phimoe", TEXT, LOCAL),
    "granitemoe": _text("GraniteMoe", TEXT, LOCAL),
    "minimax_m2": _text("MiniMaxM2", TEXT, HEADS, LOCAL),
    "deepseek_v2": _text(
        "DeepseekV2", TEXT, {"num_key_value_heads": 4}, ROUTED, LATENT, {"q_lora_rank": 16}
    ),
    "deepseek_v3": _text(
        "DeepseekV3",
        TEXT,
        {"num_key_value_heads": 4, "num_hidden_layers": 3},
        ROUTED,
        LATENT,
        {"n_group": 2, "topk_group": 1, "q_lora_rank": 16},
    ),
    "glm4_moe": _text("Glm4Moe", TEXT, HEADS, ROUTED, {"n_group": 1, "topk_group": 1}),
    "gpt_oss": _text(
        "GptOss", TEXT, {"hidden_size": 64, "intermediate_size": 32, "head_dim": 16}, LOCAL
    ),
    "llama4_text": _other("Llama4ForCausalLM", "Llama4Text", LLAMA4),
    "lfm2_moe": _text(
        "Lfm2Moe",
        TEXT,
        MOE,
        {"num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
    ),
    "ernie4_5_moe": _text(
        "Ernie4_5_Moe",
        TEXT,
        {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 24,
            "moe_num_shared_experts": 1,
        },
        {"moe_layer_start_index": 1},
    ),
    "jamba": _text(
        "Jamba",
        FOUR_LAYERS,
        {"num_experts": 4, "num_experts_per_tok": 2},
        {"expert_layer_period": 2, "expert_layer_offset": 1},
        {"attn_layer_period": 4, "attn_layer_offset": 2},
        {"mamba_d_state": 4, "mamba_dt_rank": 2, "use_mamba_kernels": False},
    ),
    "qwen3_next": _text(
        "Qwen3Next", FOUR_LAYERS, HEADS, MOE, LINEAR, {"shared_expert_intermediate_size": 24}
    ),
    "nemotron_h": _text(
        "NemotronH",
        TEXT,
        HEADS,
        ROUTED,
        {"layers_block_type": ["mamba", "moe", "attention", "moe"]},
        {"moe_shared_expert_intermediate_size": 40, "mamba_num_heads": 8, "mamba_head_dim": 8},
        {"ssm_state_size": 8, "n_groups": 1, "n_group": 1, "topk_group": 1},
    ),
    # vision and language
    "gemma3": _other(
        "Gemma3ForConditionalGeneration",
        "Gemma3",
        {"text_config": {**TEXT, **HEADS}, "vision_config": VISION, "mm_tokens_per_image": 4},
    ),
    "llava": _other(
        "LlavaForConditionalGeneration",
        "Llava",
        {"text_config": {**TEXT, "model_type": "llama"}},
        {"vision_config": {**VISION, "model_type": "clip_vision_model"}},
    ),
    "mistral3": _other(
        "Mistral3ForConditionalGeneration",
        "Mistral3",
        {"text_config": {**TEXT, **HEADS, "model_type": "mistral"}},
        {"vision_config": {**VISION, "model_type": "pixtral"}},
    ),
    "llama4": _other(
        "Llama4ForConditionalGeneration",
        "Llama4",
        {"text_config": LLAMA4},
        {
            "vision_config": {
                **VISION,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
                "pixel_shuffle_ratio": 0.5,
            }
        },
    ),
    "qwen2_vl": _other(
        "Qwen2VLForConditionalGeneration",
        "Qwen2VL",
        {"text_config": {**TEXT, **ROPE}},
        {
            "vision_config": {
                "depth": 2,
                "embed_dim": 32,
                "hidden_size": 32,
                "num_heads": 4,
                "mlp_ratio": 2,
                "patch_size": 8,
            }
        },
    ),
    "qwen2_5_vl": _other(
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VL",
        {"text_config": {**TEXT, **ROPE}},
        {"vision_config": {**QWEN_VISION, "fullatt_block_indexes": [1]}},
    ),
    "qwen3_vl": _other(
        "Qwen3VLForConditionalGeneration",
        "Qwen3VL",
        {"text_config": {**TEXT, **HEADS, **ROPE}},
        {"vision_config": {**QWEN3_VISION, "deepstack_visual_indexes": [0]}},
    ),
    "qwen3_vl_moe": _other(
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3VLMoe",
        {"text_config": {**TEXT, **HEADS, **ROPE, **MOE}},
        {"vision_config": {**QWEN3_VISION, "deepstack_visual_indexes": [0]}},
    ),
    "qwen3_5": _other(
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5",
        {"text_config": {**FOUR_LAYERS, **HEADS, **LINEAR, **ROPE}},
        {"vision_config": QWEN3_VISION},
    ),
    "qwen3_5_moe": _other(
        "Qwen3_5MoeForConditionalGeneration",
        "Qwen3_5Moe",
        {
            "text_config": {
                **FOUR_LAYERS,
                **HEADS,
                **LINEAR,
                **ROPE,
                **MOE,
                "shared_expert_intermediate_size": 40,
            }
        },
        {"vision_config": QWEN3_VISION},
    ),
    "internvl": _other(
        "InternVLForConditionalGeneration",
        "InternVL",
        {"text_config": {**TEXT, "model_type": "qwen2"}},
        {"vision_config": {**VISION, "image_size": [32, 32], "patch_size": [8, 8]}},
    ),
    # encoders, encoder-decoders, vision, speech
    "t5": _other(
        "T5ForConditionalGeneration",
        "T5",
        {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "bart": _other(
        "BartForConditionalGeneration",
        "Bart",
        SPEECH,
        {"vocab_size": 96, "max_position_embeddings": 64},
    ),
    "bert": _other("BertForMaskedLM", "Bert", ENCODER),
    "bert_classifier": _other("BertForSequenceClassification", "Bert", ENCODER),
    "modernbert": _other(
        "ModernBertForMaskedLM",
        "ModernBert",
        ENCODER,
        {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        {"cls_token_id": 1, "sep_token_id": 2},
    ),
    "nomic_bert": _other("NomicBertForMaskedLM", "NomicBert", ENCODER),
    "vit": _other("ViTForImageClassification", "ViT", VISION),
    "dinov2": _other("Dinov2Model", "Dinov2", VISION),
    "dinov2_swiglu": _other("Dinov2Model", "Dinov2", VISION, {"use_swiglu_ffn": True}),
    "clip": _other(
        "CLIPModel",
        "CLIP",
        {"text_config": ENCODER, "vision_config": VISION, "projection_dim": 16},
    ),
    "whisper": _other(
        "WhisperForConditionalGeneration",
        "Whisper",
        SPEECH,
        {"vocab_size": 96, "num_mel_bins": 16, "max_source_positions": 32},
        {"max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        {"decoder_start_token_id": 1},
    ),
    "wav2vec2": _other(
        "Wav2Vec2ForCTC",
        "Wav2Vec2",
        {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        {"intermediate_size": 48, "conv_dim": [16, 16], "conv_stride": [5, 2]},
        {"conv_kernel": [10, 3], "num_conv_pos_embeddings": 16},
        {"num_conv_pos_embedding_groups": 4},
    ),
}

FOUR_STAGES: Options = {
    "image_size": 64, "hidden_sizes": [8, 16, 40, 64], "depths": [2, 2, 6, 2],
    "num_attention_heads": [1, 2, 5, 8], "decoder_hidden_size": 24,
}  # fmt: skip
STAGES: dict[str, Architecture] = {
    "swin": _other(
        "SwinForImageClassification",
        "Swin",
        {"image_size": 64, "embed_dim": 16, "depths": [2, 2, 6, 2], "num_heads": [1, 2, 4, 8]},
        {"window_size": 2},
    ),
    "convnext": _other(
        "ConvNextForImageClassification",
        "ConvNext",
        {"hidden_sizes": [8, 16, 32, 64], "depths": [3, 3, 9, 3]},
    ),
    "resnet": _other(
        "ResNetForImageClassification",
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [16, 32, 64, 128], "depths": [3, 4, 6, 3]},
    ),
    "pvt": _other("PvtForImageClassification", "Pvt", FOUR_STAGES),
    "segformer": _other("SegformerForSemanticSegmentation", "Segformer", FOUR_STAGES),
}
"""Vision models of stages, each of a width of its own, with as many blocks as published ones."""
