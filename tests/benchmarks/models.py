"""Models to measure with: the shapes of real ones, values with structure, and no training.

Each matrix is noise whose columns differ in strength, plus a low-rank part whose singular values
decay, as in trained weights; so the scores of a type's layers differ, and their order says
something.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK = 40
"""Directions of the part that is not noise."""


@dataclass(frozen=True)
class Shape:
    """A Llama, or a Qwen3 (which has norms on queries and keys and an untied head)."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    kv_heads: int
    qwen: bool = False

    @property
    def head_dim(self) -> int:
        """Columns of one head."""
        return self.hidden // self.heads

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of every 2-D weight, by its module's name."""
        hidden, inner = self.hidden, self.intermediate
        keys = self.kv_heads * self.head_dim
        found = {"model.embed_tokens": (self.vocabulary, hidden)}
        for i in range(self.layers):
            layer = f"model.layers.{i}"
            found[f"{layer}.self_attn.q_proj"] = (hidden, hidden)
            found[f"{layer}.self_attn.k_proj"] = (keys, hidden)
            found[f"{layer}.self_attn.v_proj"] = (keys, hidden)
            found[f"{layer}.self_attn.o_proj"] = (hidden, hidden)
            found[f"{layer}.mlp.gate_proj"] = (inner, hidden)
            found[f"{layer}.mlp.up_proj"] = (inner, hidden)
            found[f"{layer}.mlp.down_proj"] = (hidden, inner)
        if self.qwen:
            found["lm_head"] = (self.vocabulary, hidden)
        return found

    def norms(self) -> dict[str, int]:
        """The length of every norm, by its module's name."""
        found = {"model.norm": self.hidden}
        for i in range(self.layers):
            layer = f"model.layers.{i}"
            found[f"{layer}.input_layernorm"] = self.hidden
            found[f"{layer}.post_attention_layernorm"] = self.hidden
            if self.qwen:
                found[f"{layer}.self_attn.q_norm"] = self.head_dim
                found[f"{layer}.self_attn.k_norm"] = self.head_dim
        return found

    def config(self) -> dict[str, object]:
        """What config.json says."""
        return {
            "architectures": ["Qwen3ForCausalLM" if self.qwen else "LlamaForCausalLM"],
            "model_type": "qwen3" if self.qwen else "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": not self.qwen,
            "torch_dtype": "bfloat16",
        }


def trained(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """A matrix that looks trained, in bfloat16."""
    strength = torch.linspace(1.6, 0.7, columns) / math.sqrt(rows)
    noise = torch.randn(rows, columns, generator=generator) * strength
    rank = min(RANK, rows, columns)
    left = torch.randn(rows, rank, generator=generator) / math.sqrt(rows)
    right = torch.randn(columns, rank, generator=generator) / math.sqrt(columns)
    top = 4.0 + 8.0 * float(torch.rand(1, generator=generator))
    decay = top * torch.arange(1, rank + 1) ** -0.6
    return (noise + (left * decay) @ right.T).to(torch.bfloat16)


def write_model(shape: Shape, folder: Path) -> Path:
    """Write config.json and one safetensors file; the same bytes for the same shape."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{name}.weight": trained(rows, columns, generator)
        for name, (rows, columns) in shape.matrices().items()
    }
    for name, length in shape.norms().items():
        tensors[f"{name}.weight"] = torch.ones(length, dtype=torch.bfloat16)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(shape.config()), encoding="utf-8")
    return folder
