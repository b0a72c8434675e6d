"""Ten large public models as repositories of headers: configurations and shapes, no weights.

`write(folder, deepseek_v3())` makes sparse files, 690 GB by their size and 12 MB on disk.
The configurations hold what decides names and shapes; `parameters` is the published count.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]
Stored = tuple[str, Shape, str]
"""Name, shape and stored type of a tensor."""

_BITS = {"BF16": 16, "F8_E4M3": 8, "F32": 32, "U8": 8}
BLOCK = 128
"""Rows and columns of a weight in FP8 that share a scale."""


@dataclass(frozen=True, kw_only=True)
class Giant:
    """A model by its configuration, its tensors in the order of its shards, how many shards there
    are, and the parameters that its authors count (in billions)."""

    config: Mapping[str, Any]
    tensors: Callable[[], Iterable[Stored]]
    shards: int
    parameters: float


def write(folder: Path, giant: Giant) -> Path:
    """Write the configuration, the index, and shards that hold nothing behind their headers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(giant.config))
    shards = list(_in_shards(list(giant.tensors()), giant.shards))
    weight_map = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map.update(dict.fromkeys((tensor[0] for tensor in tensors), name))
        _write_shard(folder / name, tensors)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def nbytes(tensor: Stored) -> int:
    """Bytes of a tensor."""
    return prod(tensor[1]) * _BITS[tensor[2]] // 8


def _in_shards(tensors: list[Stored], count: int) -> Iterator[list[Stored]]:
    """Yield the tensors in `count` shards of about the same size."""
    share = sum(map(nbytes, tensors)) / count
    shard: list[Stored] = []
    filled, left = 0, count
    for tensor in tensors:
        if shard and left > 1 and filled + nbytes(tensor) > 1.02 * share:
            yield shard
            shard, filled, left = [], 0, left - 1
        shard.append(tensor)
        filled += nbytes(tensor)
    yield shard


def _write_shard(path: Path, tensors: Iterable[Stored]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in sorted(tensors):
        start, end = end, end + nbytes(tensor)
        name, shape, dtype = tensor
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


# -- parts of models ---------------------------------------------------------------------------


def weights(prefix: str, **shapes: Shape) -> Iterator[Stored]:
    """Yield weights by the names of their modules, `__` for a dot."""
    for name, shape in shapes.items():
        yield f"{prefix}{name.replace('__', '.')}.weight", shape, "BF16"


def attention(
    prefix: str, hidden: int, heads: int, pairs: int, width: int, *, biased: str = ""
) -> Iterator[Stored]:
    """Yield the four projections; those whose first letter is in `biased` have a bias."""
    p = f"{prefix}self_attn."
    for name, rows, columns in (
        ("q", heads * width, hidden),
        ("k", pairs * width, hidden),
        ("v", pairs * width, hidden),
        ("o", hidden, heads * width),
    ):
        yield f"{p}{name}_proj.weight", (rows, columns), "BF16"
        if name in biased:
            yield f"{p}{name}_proj.bias", (rows,), "BF16"


def query_norms(prefix: str, query: int, key: int) -> Iterator[Stored]:
    yield from weights(f"{prefix}self_attn.", q_norm=(query,), k_norm=(key,))


def norms(prefix: str, hidden: int) -> Iterator[Stored]:
    yield from weights(prefix, input_layernorm=(hidden,), post_attention_layernorm=(hidden,))


def mlp(prefix: str, hidden: int, inner: int) -> Iterator[Stored]:
    inside, out = (inner, hidden), (hidden, inner)
    yield from weights(prefix, gate_proj=inside, up_proj=inside, down_proj=out)


def experts_of(prefix: str, count: int, hidden: int, inner: int) -> Iterator[Stored]:
    for number in range(count):
        yield from mlp(f"{prefix}experts.{number}.", hidden, inner)


def w_experts(prefix: str, count: int, hidden: int, inner: int) -> Iterator[Stored]:
    """Yield experts as Mixtral calls their matrices."""
    for number in range(count):
        shapes = {"w1": (inner, hidden), "w2": (hidden, inner), "w3": (inner, hidden)}
        yield from weights(f"{prefix}experts.{number}.", **shapes)


def ends(hidden: int, vocabulary: int, prefix: str = "") -> Iterator[Stored]:
    table = (vocabulary, hidden)
    yield from weights(prefix, model__embed_tokens=table, model__norm=(hidden,), lm_head=table)


def next_token(prefix: str, hidden: int, vocabulary: int) -> Iterator[Stored]:
    """Yield what a layer that predicts one more token has besides a layer."""
    table = (vocabulary, hidden)
    yield from weights(prefix, embed_tokens=table, enorm=(hidden,), hnorm=(hidden,))
    yield from weights(prefix, eh_proj=(hidden, 2 * hidden), shared_head__norm=(hidden,))
    yield from weights(prefix, shared_head__head=table)


def in_fp8(tensors: Iterable[Stored]) -> Iterator[Stored]:
    """Yield the tensors with the matrices of linear layers in FP8, a scale for each block."""
    for name, shape, dtype in tensors:
        listed = ".experts." in name
        if len(shape) != 2 or not (listed or "_proj" in name) or dtype != "BF16":
            yield name, shape, dtype
            continue
        rows, columns = shape
        yield name, shape, "F8_E4M3"
        yield f"{name}_scale_inv", (-(-rows // BLOCK), -(-columns // BLOCK)), "F32"


def of_layers(count: int, layer: Callable[[int, str], Iterable[Stored]]) -> Iterator[Stored]:
    for number in range(count):
        yield from layer(number, f"model.layers.{number}.")


def configuration(name: str, model_type: str, **values: Any) -> dict[str, Any]:
    common = {"tie_word_embeddings": False, "torch_dtype": "bfloat16", "hidden_act": "silu"}
    return {"architectures": [name], "model_type": model_type, **common, **values}


FP8 = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [BLOCK, BLOCK],
}


def named_by_transformers(config: Mapping[str, Any]) -> list[str]:
    """Return the parameters of the class that a configuration names, made without weights."""
    import torch
    import transformers

    plain = {key: value for key, value in config.items() if key != "auto_map"}
    plain.pop("quantization_config", None)
    made = transformers.AutoConfig.for_model(**plain)
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(made)
    return [name for name, _ in model.named_parameters()]
