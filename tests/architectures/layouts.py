"""The same weights under the names that they have in different places.

"published": as repositories on the hub have them, with what they carry besides (old masks,
multi-token-prediction layers, tied weights stored again). "transformers-4": as the fourth
version of transformers saved them, experts one by one. "fused": as the fifth has them in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

LAYOUTS = ("published", "transformers-4", "fused")


def extra(*shape: int) -> torch.Tensor:
    """Values of a tensor that no parameter comes from."""
    return torch.full(shape, 0.5)


def _renamed(pattern: str, replacement: str) -> Callable[[Tensors], Tensors]:
    return lambda t: {re.sub(pattern, replacement, name): value for name, value in t.items()}


def _gpt2(tensors: Tensors) -> Tensors:
    bare = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    return bare | {f"h.{i}.attn.bias": extra(1, 1, 64, 64) for i in range(2)}


def _bert(tensors: Tensors) -> Tensors:
    old = _renamed(r"LayerNorm\.bias$", "LayerNorm.beta")(
        _renamed(r"LayerNorm\.weight$", "LayerNorm.gamma")(tensors)
    )
    return old | {
        "cls.seq_relationship.weight": extra(2, 32),
        "bert.pooler.dense.weight": extra(32, 32),
        "bert.embeddings.position_ids": torch.arange(64)[None],
    }


def _gpt_neox(tensors: Tensors) -> Tensors:
    masks: Tensors = {}
    for i in range(2):
        prefix = f"gpt_neox.layers.{i}.attention"
        masks[f"{prefix}.bias"] = extra(1, 1, 64, 64)
        masks[f"{prefix}.masked_bias"] = torch.tensor(-1e9)
        masks[f"{prefix}.rotary_emb.inv_freq"] = extra(4)
    return tensors | masks


def _llama_base(tensors: Tensors) -> Tensors:
    bare = {n.removeprefix("model."): v for n, v in tensors.items() if n != "lm_head.weight"}
    return bare | {"layers.0.self_attn.rotary_emb.inv_freq": extra(4)}


def _t5(tensors: Tensors) -> Tensors:
    shared = tensors["shared.weight"]
    again = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    block = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return tensors | dict.fromkeys(again, shared) | {block: extra(32, 4)}


def _llava(tensors: Tensors) -> Tensors:
    named = _renamed(r"^vision_tower\.", "vision_tower.vision_model.")(tensors)
    return named | {"vision_tower.vision_model.embeddings.position_ids": torch.arange(17)[None]}


def _qwen3_next(tensors: Tensors) -> Tensors:
    return tensors | {
        "mtp.fc.weight": extra(32, 64),
        "mtp.layers.0.mlp.experts.0.up_proj.weight": extra(24, 32),
        "mtp.norm.weight": extra(32),
    }


def _deepseek_v3(tensors: Tensors) -> Tensors:
    last = "model.layers.2."
    layer = {
        name.replace(last, "model.layers.61."): value
        for name, value in tensors.items()
        if name.startswith(last)
    }
    return tensors | layer | {"model.layers.61.eh_proj.weight": extra(32, 64)}


PUBLISHED: dict[str, Callable[[Tensors], Tensors]] = {
    "gpt2": _gpt2,
    "bert": _bert,
    "gpt_neox": _gpt_neox,
    "llama": _llama_base,
    "llama_tied": lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"]},
    "t5": _t5,
    "gemma3": _renamed(r"^vision_tower\.", "vision_tower.vision_model."),
    "llava": _llava,
    "clip": lambda t: t | {"text_model.embeddings.position_ids": torch.arange(64)[None]},
    "qwen3_next": _qwen3_next,
    "deepseek_v3": _deepseek_v3,
}
"""What a repository has that saving the model again does not reproduce; others are the same."""


def write_layout(model: Any, name: str, layout: str, folder: Path) -> Path:
    """Save `model` in one file under the names of `layout`; returns the folder."""
    model.save_pretrained(folder, save_original_format=layout != "fused")
    if layout == "published" and name in PUBLISHED:
        rewrite(folder, folder, PUBLISHED[name])
    return folder


def rewrite(
    source: Path,
    folder: Path,
    change: Callable[[Tensors], Tensors] = dict,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write the model of `source` to `folder` with other tensors or configuration."""
    tensors = change(load_file(source / "model.safetensors"))
    options = json.loads((source / "config.json").read_text()) | (config or {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(options))
    apart = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(apart, folder / "model.safetensors", {"format": "pt"})
    return folder


def split_in_shards(source: Path, folder: Path, shards: int = 3) -> Path:
    """Write the model of `source` to `folder` in several files, neighbours apart."""
    tensors = load_file(source / "model.safetensors")
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    where: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(tensors.items())[i::shards])
        save_file(part, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
