"""How long a plan of real sizes takes: `python -m tests.benchmarks.bench_plan [NAME ...]`.

The files have real headers and no data (they are sparse), so that a model of 671 billion
parameters takes some megabytes of disk. Each model is planned in a process of its own; imports are
timed apart, because the program has them done before a model is chosen. Wanted: 0.5 s for 70
billion dense parameters, 4 s for 90,000 tensors.
"""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import describe

BYTES = {"BF16": 2, "F32": 4, "F8_E4M3": 1}
Entry = tuple[str, str, tuple[int, ...]]
"""Name, stored type, shape."""

Config = dict[str, Any]


def dense(config: Config) -> Iterator[Entry]:
    """A Llama or a Qwen3, without its layers' MLP where that is of experts."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", "BF16", (config["vocab_size"], hidden)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        for part, rows in (("q", queries), ("k", keys), ("v", keys)):
            yield f"{layer}.self_attn.{part}_proj.weight", "BF16", (rows, hidden)
        yield f"{layer}.self_attn.o_proj.weight", "BF16", (hidden, queries)
        yield f"{layer}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", "BF16", (hidden,)
        if config["model_type"].startswith("qwen3"):
            for part in ("q", "k"):
                yield f"{layer}.self_attn.{part}_norm.weight", "BF16", (head,)
        yield from mlp(config, layer)
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (config["vocab_size"], hidden)


def mlp(config: Config, layer: str) -> Iterator[Entry]:
    """The MLP of one layer: one for all, or experts with a router."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    match config["model_type"]:
        case "mixtral":
            block = f"{layer}.block_sparse_moe"
            experts = config["num_local_experts"]
            yield f"{block}.gate.weight", "BF16", (experts, hidden)
            for i in range(experts):
                yield from _three(f"{block}.experts.{i}", ("w1", "w3", "w2"), hidden, inner)
        case "qwen3_moe":
            experts = config["num_experts"]
            yield f"{layer}.mlp.gate.weight", "BF16", (experts, hidden)
            for i in range(experts):
                place, size = f"{layer}.mlp.experts.{i}", config["moe_intermediate_size"]
                yield from _three(place, PROJECTIONS, hidden, size)
        case _:
            yield from _three(f"{layer}.mlp", PROJECTIONS, hidden, inner)


PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def _three(
    place: str, names: Sequence[str], hidden: int, inner: int, fp8: bool = False
) -> Iterator[Entry]:
    for name, shape in zip(names, ((inner, hidden),) * 2 + ((hidden, inner),), strict=True):
        yield from _weight(f"{place}.{name}", shape, fp8)


def _weight(name: str, shape: tuple[int, int], fp8: bool) -> Iterator[Entry]:
    yield f"{name}.weight", "F8_E4M3" if fp8 else "BF16", shape
    if fp8:
        yield f"{name}.weight_scale_inv", "F32", (-(-shape[0] // 128), -(-shape[1] // 128))


def deepseek(config: Config) -> Iterator[Entry]:
    """DeepSeek-V3 as it is published: FP8 with scales, and a layer for multi-token prediction."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    yield "model.embed_tokens.weight", "BF16", (config["vocab_size"], hidden)
    for i in range(layers + 1):
        layer = f"model.layers.{i}"
        yield from _latent_attention(config, f"{layer}.self_attn")
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{norm}.weight", "BF16", (hidden,)
        if i < config["first_k_dense_replace"]:
            size = config["intermediate_size"]
            yield from _three(f"{layer}.mlp", PROJECTIONS, hidden, size, fp8=True)
            continue
        size, experts = config["moe_intermediate_size"], config["n_routed_experts"]
        yield f"{layer}.mlp.gate.weight", "BF16", (experts, hidden)
        yield f"{layer}.mlp.gate.e_score_correction_bias", "F32", (experts,)
        for place in ("shared_experts", *(f"experts.{e}" for e in range(experts))):
            yield from _three(f"{layer}.mlp.{place}", PROJECTIONS, hidden, size, fp8=True)
    yield f"model.layers.{layers}.eh_proj.weight", "BF16", (hidden, 2 * hidden)
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (config["vocab_size"], hidden)


def _latent_attention(config: Config, place: str) -> Iterator[Entry]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    query, latent = config["q_lora_rank"], config["kv_lora_rank"]
    rope, nope, value = (config[f"{k}_head_dim"] for k in ("qk_rope", "qk_nope", "v"))
    for name, shape in (
        ("q_a_proj", (query, hidden)),
        ("q_b_proj", (heads * (nope + rope), query)),
        ("kv_a_proj_with_mqa", (latent + rope, hidden)),
        ("kv_b_proj", (heads * (nope + value), latent)),
        ("o_proj", (hidden, heads * value)),
    ):
        yield from _weight(f"{place}.{name}", shape, fp8=True)
    yield f"{place}.q_a_layernorm.weight", "BF16", (query,)
    yield f"{place}.kv_a_layernorm.weight", "BF16", (latent,)


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)


def _config(model_type: str, name: str, *sizes: int, **more: Any) -> Config:
    named = dict(zip(SIZES, sizes, strict=True))
    whole = {"model_type": model_type, "architectures": [f"{name}ForCausalLM"], "head_dim": 128}
    return whole | {"tie_word_embeddings": False} | named | more


MODELS: dict[str, tuple[Config, int]] = {
    "Qwen3-8B": (_config("qwen3", "Qwen3", 151936, 4096, 12288, 36, 32, 8), 5),
    "Llama-3.1-70B": (_config("llama", "Llama", 128256, 8192, 28672, 80, 64, 8), 28),
    "Mixtral-8x22B": (
        _config("mixtral", "Mixtral", 32768, 6144, 16384, 56, 48, 8, num_local_experts=8),
        59,
    ),
    "Qwen3-235B-A22B": (
        _config("qwen3_moe", "Qwen3Moe", 151936, 4096, 12288, 94, 64, 4)
        | {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536},
        118,
    ),
    "DeepSeek-V3": (
        _config("deepseek_v3", "DeepseekV3", 129280, 7168, 18432, 61, 128, 128)
        | {"moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1}
        | {"num_experts_per_tok": 8, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 3}
        | {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
        | {"qk_nope_head_dim": 128, "v_head_dim": 128}
        | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
        163,
    ),
}


def write_sparse(folder: Path, name: str) -> int:
    """Write a model without data; returns how many tensors it has."""
    config, shards = MODELS[name]
    (folder / "config.json").write_text(json.dumps(config))
    entries = list(deepseek(config) if name.startswith("DeepSeek") else dense(config))
    size = -(-len(entries) // shards)
    where: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = entries[i * size : (i + 1) * size]
        _write_shard(folder / file, part)
        where |= {entry[0]: file for entry in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return len(entries)


def _write_shard(path: Path, entries: Sequence[Entry]) -> None:
    header, end = {}, 0
    for name, dtype, shape in entries:
        start, end = end, end + BYTES[dtype] * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    blob = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(blob)) + blob)
        file.truncate(8 + len(blob) + end)


def measure(folder: Path) -> dict[str, Any]:
    """Seconds of each step in this process, which has imported nothing yet."""
    from spectrum_tui.core.checkpoint.headers import read_checkpoint

    started = time.perf_counter()
    checkpoint = read_checkpoint(folder)
    headers = time.perf_counter()
    from spectrum_tui.core.naming.model_class import empty_model
    from spectrum_tui.core.naming.plan import plan_parameters
    from spectrum_tui.core.naming.transformers_api import distrust
    from spectrum_tui.core.quantised.dequantise import dequantise

    distrust()
    empty_model(checkpoint.config)
    imported = time.perf_counter()
    dequantised = dequantise(checkpoint)
    ready = time.perf_counter()
    plan = plan_parameters(checkpoint, sources=dequantised.sources)
    planned = time.perf_counter()
    count = sum(len(plan.matrices(parameter)) for parameter in plan.parameters)
    return {
        "headers": headers - started,
        "imports": imported - headers,
        "decoders": ready - imported,
        "plan": planned - ready,
        "matrices": time.perf_counter() - planned,
        "count": count,
        "naming": plan.naming,
        "missing": len(plan.missing) + len(plan.mismatched),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main(names: Sequence[str]) -> None:
    """Print one line for each model."""
    print(describe())
    print(
        f"{'model':17}{'tensors':>8}{'headers':>9}{'imports':>9}{'decoders':>9}{'plan':>7}",
        end="",
    )
    print(f"{'matrices':>17}{'memory':>9}  naming")
    for name in names or MODELS:
        with tempfile.TemporaryDirectory() as place:
            tensors = write_sparse(Path(place), name)
            command = [sys.executable, "-m", "tests.benchmarks.bench_plan", "--measure", place]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        got = json.loads(done.stdout.splitlines()[-1])
        steps = f"{got['headers']:>8.3f}s{got['imports']:>8.1f}s{got['decoders']:>8.2f}s"
        print(f"{name:17}{tensors:>8}{steps}{got['plan']:>6.2f}s", end="")
        print(f"{got['count']:>9} {got['matrices']:>6.2f}s{got['memory']:>6.0f} MB", end="")
        print(f"  {got['naming']}, {got['missing']} missing")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        main(sys.argv[1:])
