"""Peak memory and time of a headless scan: `python tests/benchmarks/bench_memory.py [GIGABYTES]`.

Makes a Llama-shaped bfloat16 checkpoint of about that size (2 by default) in a temporary folder,
scans it in a process of its own and prints what the system accounted for it.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.machine import describe

HIDDEN, INTERMEDIATE, VOCABULARY = 2048, 8192, 128_256
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 4, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 4, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}


def tensors(target: float) -> dict[str, tuple[int, int]]:
    """Embedding, head, and as many layers as fit into `target` bytes."""
    wanted = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    layer = 0
    while sum(rows * columns * 2 for rows, columns in wanted.values()) < target:
        for kind, shape in SHAPES.items():
            wanted[f"model.layers.{layer}.{kind}.weight"] = shape
        layer += 1
    return wanted


def write_checkpoint(folder: Path, target: float) -> int:
    """Write the checkpoint block by block; returns its bytes."""
    header: dict[str, object] = {}
    offset = 0
    shapes = tensors(target)
    for name, (rows, columns) in shapes.items():
        end = offset + rows * columns * 2
        header[name] = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [offset, end]}
        offset = end
    blob = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(blob)) + blob)
        left = offset // 2
        while left:
            count = min(left, 2**22)
            bits = (0.02 * rng.standard_normal(count, dtype=np.float32)).view(np.uint32)
            file.write((bits >> 16).astype("<u2").tobytes())
            left -= count
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    return offset


def main() -> None:
    target = float(sys.argv[1]) * 1e9 if len(sys.argv) > 1 else 2e9
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        folder.mkdir()
        size = write_checkpoint(folder, target)
        command = [sys.executable, "-m", "spectrum_tui", "scan", str(folder), "--output-dir", name]
        environment = {**os.environ, "SPECTRUM_TUI_CACHE": f"{name}/cache"}
        begin = time.perf_counter()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"checkpoint {size / 1e9:.2f} GB   peak memory {peak:.2f} GB   {seconds:.0f} s")


if __name__ == "__main__":
    main()
