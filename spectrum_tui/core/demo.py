"""A small Llama-shaped model made on the spot: something real to scan, nothing to download.

Each matrix is Gaussian noise plus a low-rank part whose strength follows the layer's depth
differently for each layer type, as trained models do; so the scores, the heat map and the
selection have something to show. The weights are random: the model says nothing.
"""

from __future__ import annotations

import json
import math
import secrets
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, cannot_write, write_text

LAYERS, HIDDEN, INTERMEDIATE, KV_HEADS, VOCABULARY = 12, 512, 1408, 128, 4096
_NOISE = 0.02
"""Standard deviation of the noise: the initializer_range of most language models."""

_SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV_HEADS, HIDDEN),
    "self_attn.v_proj": (KV_HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
_DEPTH_OF_PEAK = {
    "self_attn.q_proj": 0.15,
    "self_attn.k_proj": 0.25,
    "self_attn.v_proj": 0.8,
    "self_attn.o_proj": 0.65,
    "mlp.gate_proj": 0.9,
    "mlp.up_proj": 0.55,
    "mlp.down_proj": 0.4,
}
"""Where in the model (0 first, 1 last layer) the low-rank part of a type is strongest."""

_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16",
}

Array = npt.NDArray[np.float32]


def make_demo_model() -> Path:
    """The folder of the demonstration model (34 M parameters, 68 MB); made once, then reused."""
    folder = cache_dir() / "demo"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        write_text(folder / "config.json", json.dumps(_CONFIG, indent=2))
        _write_bfloat16(weights, _parameters())
    return folder


def _parameters() -> dict[str, Array]:
    tensors: dict[str, Array] = {
        "model.embed_tokens.weight": _matrix("embed", VOCABULARY, HIDDEN, 0.6),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": _matrix("head", VOCABULARY, HIDDEN, 0.9),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for kind, (rows, columns) in _SHAPES.items():
            name = f"{prefix}.{kind}.weight"
            tensors[name] = _matrix(name, rows, columns, _strength(kind, layer))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    return tensors


def _strength(kind: str, layer: int) -> float:
    distance = layer / (LAYERS - 1) - _DEPTH_OF_PEAK[kind]
    return 0.25 + math.exp(-((distance / 0.22) ** 2))


def _matrix(name: str, rows: int, columns: int, strength: float) -> Array:
    """Noise plus a part of rank 32 with singular values that fall off like a power law.

    The largest stands `8 · strength` times above the noise's own largest singular value.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    rank = min(32, rows, columns)
    left = rng.standard_normal((rows, rank), dtype=np.float32) / math.sqrt(rows)
    right = rng.standard_normal((rank, columns), dtype=np.float32) / math.sqrt(columns)
    edge = _NOISE * (math.sqrt(rows) + math.sqrt(columns))
    decay = 8.0 * strength * edge * np.arange(1, rank + 1, dtype=np.float32) ** -0.8
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    matrix: Array = _NOISE * noise + (left * decay.astype(np.float32)) @ right
    return matrix


def _write_bfloat16(path: Path, tensors: dict[str, Array]) -> None:
    """One safetensors file of bfloat16, which numpy has no type for: the upper two bytes of a
    float32, rounded to nearest."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", "demo": "random weights"}}
    offset = 0
    for name, array in tensors.items():
        end = offset + 2 * array.size
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    # Processes that make it at the same time must not write into one file.
    part = path.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.write(struct.pack("<Q", len(blob)) + blob)
            for array in tensors.values():
                bits = np.ascontiguousarray(array).view(np.uint32)
                file.write(((bits + 0x8000) >> 16).astype("<u2").tobytes())
        part.replace(path)
    except OSError as exc:
        raise _no_room(path, exc) from None


def _no_room(path: Path, exc: OSError) -> OutputError:
    error = cannot_write(path, exc)
    return OutputError(error.message, "The demonstration model needs 70 MB.", field="model")
