"""A small Llama-shaped model made on the spot: something real to scan, nothing to download.

Each matrix is Gaussian noise plus a low-rank part whose strength follows the layer's depth
differently for each layer type, as trained models do; so the scores, the heat map and the
selection have something to show. The weights are random: the model says nothing.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectrum_tui.core.disk import KeptFile
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, write_pieces, write_text

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
    """Return the folder of the demonstration model (34 M parameters, 68 MB); made once, then
    reused."""
    folder = cache_dir() / "demo"
    config, weights = folder / "config.json", folder / "model.safetensors"
    header, size = _header()
    text = json.dumps(_CONFIG, indent=2)
    try:
        if not _is(config, text.encode()):
            write_text(config, text)
        if not _is(weights, header, size):
            write_pieces(weights, itertools.chain((header,), _bfloat16()))
    except OutputError as exc:
        hint = f"The demonstration model needs 70 MB. {exc.hint}"
        raise OutputError(exc.message, hint, field="model") from None
    return folder


def _is(path: Path, start: bytes, more: int = 0) -> bool:
    """Return whether a file begins like this, and has so many bytes more."""
    try:
        file = KeptFile(path)
    except OSError:
        return False
    try:
        return file.size() == len(start) + more and file.read(0, len(start)) == start
    except OSError:
        return False
    finally:
        file.close()


def _layout() -> dict[str, tuple[tuple[int, ...], float]]:
    """{parameter: (shape, strength of its low-rank part)}; norms, of one dimension, are ones."""
    layout: dict[str, tuple[tuple[int, ...], float]] = {
        "model.embed_tokens.weight": ((VOCABULARY, HIDDEN), 0.6),
        "model.norm.weight": ((HIDDEN,), 0.0),
        "lm_head.weight": ((VOCABULARY, HIDDEN), 0.9),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for kind, shape in _SHAPES.items():
            layout[f"{prefix}.{kind}.weight"] = (shape, _strength(kind, layer))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            layout[f"{prefix}.{norm}.weight"] = ((HIDDEN,), 0.0)
    return layout


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


def _header() -> tuple[bytes, int]:
    """Return how the safetensors file begins, and how many bytes of weights follow."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", "demo": "random weights"}}
    offset = 0
    for name, (shape, _) in _layout().items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    return struct.pack("<Q", len(blob)) + blob, offset


def _bfloat16() -> Iterator[bytes]:
    """Yield the weights in the order of the header, as a type that numpy does not have: the upper
    two bytes of a float32, rounded to nearest."""
    seeds = {"model.embed_tokens.weight": "embed", "lm_head.weight": "head"}
    for name, (shape, strength) in _layout().items():
        if len(shape) == 1:
            array = np.ones(shape, np.float32)
        else:
            array = _matrix(seeds.get(name, name), shape[0], shape[1], strength)
        bits = np.ascontiguousarray(array).view(np.uint32)
        yield ((bits + 0x8000) >> 16).astype("<u2").tobytes()
