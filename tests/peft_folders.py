"""Adapters as PEFT's `save_pretrained` writes them, without PEFT: values decided by the names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.checkpoints import Tensors, matrix

PREFIX = "base_model.model."
ATTENTION = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")


def pair(module: str, weight: torch.Tensor, rank: int = 4) -> Tensors:
    """A and B of one linear module."""
    outputs, inputs = weight.shape
    return {
        f"{PREFIX}{module}.lora_A.weight": matrix(f"{module}.A", rank, inputs),
        f"{PREFIX}{module}.lora_B.weight": matrix(f"{module}.B", outputs, rank),
    }


def pairs(base: Tensors, ends: tuple[str, ...] = ATTENTION, rank: int = 4) -> Tensors:
    """Those of every module of the base whose name ends so."""
    made: Tensors = {}
    for name, weight in base.items():
        module = name.removesuffix(".weight")
        if module.endswith(ends):
            made |= pair(module, weight, rank)
    return made


def config(base: Path | str, **fields: Any) -> dict[str, Any]:
    """What an adapter_config.json says."""
    usual = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "revision": None,
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
    }
    return usual | fields


def save_adapter(folder: Path, tensors: Tensors, fields: Mapping[str, Any]) -> Path:
    """Write both files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tight = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tight, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder
