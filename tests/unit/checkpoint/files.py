"""Checkpoints of every stored type, and files that are wrong by the byte."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from spectrum_tui.core.checkpoint.shards import INDEX_FILE

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


def tensors_of_every_type(seed: int = 0) -> dict[str, torch.Tensor]:
    """A few shapes, a scalar and an empty one among them, in every stored type."""
    torch.manual_seed(seed)
    shapes = ((5, 7), (3,), (), (0, 4), (2, 3, 4))
    return {
        f"model.layers.{seed}.{dtype}.{i}": (torch.randn(shape) * 3).to(DTYPES[dtype])
        for dtype in DTYPES
        for i, shape in enumerate(shapes)
    }


def shard(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def save_sharded(folder: Path, count: int = 3) -> Path:
    """A model of `count` shards with its index and config."""
    weight_map: dict[str, str] = {}
    for number in range(1, count + 1):
        tensors = tensors_of_every_type(number)
        save_file(tensors, folder / shard(number, count), {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, shard(number, count))
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map, "metadata": {}}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def save_raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file of exactly these parts, right or wrong."""
    blob = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(blob) if length is None else length) + blob + data)
    return path


def entry(start: int, end: int, shape: object = None, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [end - start], "data_offsets": [start, end]}


def save_in_folder_below(folder: Path) -> Path:
    """A model whose index names `shards/x.safetensors`."""
    (folder / "shards").mkdir(parents=True)
    save_file(tensors_of_every_type(), folder / "shards" / "x.safetensors", {"format": "pt"})
    where = dict.fromkeys(tensors_of_every_type(), "shards/x.safetensors")
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": where, "metadata": {}}))
    return folder
