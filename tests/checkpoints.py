"""Small checkpoints on disk, written by the safetensors library itself.

`save(folder, llama())` is a Llama of two layers in one file; `save(folder, llama(), shards=3)`
the same in three with an index; `save_in_hub_cache(cache, "org/name", llama())` the same as
huggingface_hub lays it out, blobs behind symlinks. Every number is the same in every run.
Tensors that are no Llama's are saved as an architecture that nobody knows, under their own names.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from spectrum_tui.core.stored_types import Array, as_torch

Tensors = dict[str, torch.Tensor]

UNKNOWN = {"architectures": ["LlamaForCausalLM"], "model_type": "of-our-own"}
ODD_NAME = "a[/b][red]"
"""A layer name that is markup in a screen and a character class in a pattern."""


def matrix(
    name: str, *shape: int, dtype: torch.dtype = torch.float32, rank: int = 4
) -> torch.Tensor:
    """Noise plus a low-rank part, as in a trained layer; decided by `name` alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    rows = shape[0] if len(shape) > 1 else 1
    columns = int(np.prod(shape)) // rows
    strength = rng.uniform(0.1, 0.6)
    low = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    values = 0.02 * rng.standard_normal((rows, columns)) + 0.02 * strength * low
    return torch.from_numpy(values.reshape(shape)).to(dtype)


def llama(
    layers: int = 2,
    *,
    hidden: int = 32,
    vocabulary: int = 64,
    dtype: torch.dtype = torch.bfloat16,
    bias: bool = False,
    norms: bool = True,
    head: bool = True,
) -> Tensors:
    """A Llama of 7 matrices a layer; `bias` on q, k and v as in Qwen, `head` stores lm_head."""
    made: Tensors = {}

    def add(layer: str, *shape: int) -> None:
        made[f"{layer}.weight"] = matrix(layer, *shape, dtype=dtype)

    add("model.embed_tokens", vocabulary, hidden)
    for i in range(layers):
        prefix = f"model.layers.{i}"
        for part, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2)):
            add(f"{prefix}.self_attn.{part}_proj", rows, hidden)
            if bias:
                made[f"{prefix}.self_attn.{part}_proj.bias"] = torch.ones(rows, dtype=dtype)
        add(f"{prefix}.self_attn.o_proj", hidden, hidden)
        add(f"{prefix}.mlp.gate_proj", 3 * hidden, hidden)
        add(f"{prefix}.mlp.up_proj", 3 * hidden, hidden)
        add(f"{prefix}.mlp.down_proj", hidden, 3 * hidden)
        if norms:
            for norm in ("input_layernorm", "post_attention_layernorm"):
                made[f"{prefix}.{norm}.weight"] = torch.ones(hidden, dtype=dtype)
    if norms:
        made["model.norm.weight"] = torch.ones(hidden, dtype=dtype)
    if head:
        add("lm_head", vocabulary, hidden)
    return made


def experts(layer: int = 0, *, count: int = 4, hidden: int = 32) -> Tensors:
    """The experts of one layer as separate modules, and their router."""
    prefix = f"model.layers.{layer}.mlp"
    made = {f"{prefix}.gate.weight": matrix(f"{prefix}.gate", count, hidden)}
    for i in range(count):
        for part in ("gate_proj", "up_proj", "down_proj"):
            name = f"{prefix}.experts.{i}.{part}"
            made[f"{name}.weight"] = matrix(name, hidden, hidden)
    return made


def buffers() -> Tensors:
    """Stored with the weights, but nothing that trains."""
    return {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8),
        "embeddings.position_ids": torch.arange(8),
        "encoder.bn.num_batches_tracked": torch.tensor(3),
    }


def spoil(tensors: Tensors, layer: str, value: float) -> Tensors:
    """The same with one element of a layer's weight replaced (NaN, Inf)."""
    spoilt = dict(tensors)
    weight = spoilt[f"{layer}.weight"].clone()
    weight.view(-1)[weight.numel() // 2] = value
    spoilt[f"{layer}.weight"] = weight
    return spoilt


def zero(tensors: Tensors, layer: str) -> Tensors:
    """The same with a layer's weight all zero."""
    name = f"{layer}.weight"
    return {**tensors, name: torch.zeros_like(tensors[name])}


def config_for(tensors: Tensors) -> dict[str, Any]:
    """The configuration that `llama` has for these tensors; of an unknown model for others."""
    layers = sum(name.endswith("mlp.gate_proj.weight") for name in tensors)
    bias = "model.layers.0.self_attn.q_proj.bias" in tensors
    whole = llama(layers, bias=bias) if layers else {}
    if not {"model.embed_tokens.weight"} <= tensors.keys() <= whole.keys():
        return UNKNOWN
    vocabulary, hidden = tensors["model.embed_tokens.weight"].shape
    return {
        # of the two, only Qwen2 has a bias on q, k and v and none on o
        "architectures": ["Qwen2ForCausalLM" if bias else "LlamaForCausalLM"],
        "model_type": "qwen2" if bias else "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": tensors["model.layers.0.mlp.gate_proj.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    }


def save(
    folder: Path,
    tensors: Tensors,
    *,
    shards: int = 1,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder; `config` is added to one that fits. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config_for(tensors), **(config or {})}))
    whole = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(whole, folder / "model.safetensors", {"format": "pt"})
        return folder
    names = list(whole)
    where: dict[str, str] = {}
    for i in range(shards):
        shard = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: whole[name] for name in names[i::shards]}
        save_file(part, folder / shard, {"format": "pt"})
        where |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def save_in_hub_cache(
    cache: Path,
    repo_id: str,
    tensors: Tensors,
    *,
    shards: int = 1,
    config: Mapping[str, Any] | None = None,
    commit: str = "0123456789abcdef0123456789abcdef01234567",
) -> Path:
    """Write a snapshot of "org/name" as the hub's cache has it; returns the snapshot's folder."""
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot, blobs, refs = repo / "snapshots" / commit, repo / "blobs", repo / "refs"
    save(snapshot, tensors, shards=shards, config=config)
    blobs.mkdir()
    refs.mkdir()
    (refs / "main").write_text(commit)
    for file in sorted(snapshot.iterdir()):
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        file.symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def equal(found: Array | torch.Tensor, wanted: Array | torch.Tensor) -> bool:
    """Whether both hold the same values in the same type."""
    a, b = (x if isinstance(x, torch.Tensor) else as_torch(x) for x in (found, wanted))
    return a.dtype is b.dtype and torch.equal(a, b)
