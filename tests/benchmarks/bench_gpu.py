"""A scan on a GPU: times, every score against the CPU's exact one, and float32 against the bound on
its errors, which was measured on CPUs alone.

usage: python -m tests.benchmarks.bench_gpu [FOLDER OF A MODEL …]

Beside the models given it makes three: the shapes of SmolLM2-135M, of a Qwen of 8 layers with its
vocabulary, and of one block of a Llama of 8 B.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from spectrum_tui.core.scanning.devices import full_float32
from spectrum_tui.core.scoring.svd import FAST, StoredMatrix, gram_singular_values
from tests.benchmarks.machine import describe
from tests.benchmarks.models import Shape, write_model
from tests.unit.scanning.test_fast_precision import InMemory, normal, with_signal

SHAPES = (
    Shape("smollm2-135m", 30, 576, 1536, 49152, 9, 3),
    Shape("qwen-8-layers", 8, 1024, 3072, 151936, 16, 8, qwen=True),
    Shape("llama-1-block", 1, 4096, 14336, 512, 32, 8),
)
BOUND_SHAPES = ((600, 600), (3000, 1024), (1024, 1024), (2048, 2048))
REPEATS = 2
"""Of each scan on the GPU; the faster one counts, since the first one loads kernels."""

Scores = dict[str, tuple[str, float]]
"""Type and SNR of every layer."""


def scan(model: Path, device: str, precision: str) -> tuple[float, Scores]:
    """Return the seconds of a whole process, and the scores of the matrices."""
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "spectrum_tui", "scan", str(model), "--device", device]
        command += ["--precision", precision, "--output-dir", made]
        begin = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, "SPECTRUM_TUI_CACHE": f"{made}/cache"},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise SystemExit(done.stderr)
        folder = Path(made) / "model_snr_results"
        (path,) = (one for one in folder.glob("*.json") if "sorted" not in one.name)
        data = json.loads(path.read_text(encoding="utf-8"))
    scores = {name: (one["type"], one["snr"]) for name, one in data.items() if "snr" in one}
    return seconds, {name: one for name, one in scores.items() if isinstance(one[1], float)}


def furthest(scores: Scores, exact: Scores) -> float:
    """Return the largest relative difference from the exact scores."""
    assert scores.keys() == exact.keys()
    return max(
        abs(scores[name][1] - snr) / max(abs(snr), 1e-300) for name, (_, snr) in exact.items()
    )


def other_orders(scores: Scores, exact: Scores) -> int:
    """Return how many types rank their layers in another order."""
    orders: list[dict[str, list[str]]] = []
    for found in (scores, exact):
        by_type: dict[str, list[str]] = defaultdict(list)
        for name in sorted(found, key=lambda name: (-found[name][1], name)):
            by_type[found[name][0]].append(name)
        orders.append(by_type)
    return sum(orders[0][kind] != orders[1][kind] for kind in orders[1])


@contextmanager
def busy() -> Iterator[list[int]]:
    """Yield a list that gets the GPU's utilisation in percent, ten times a second."""
    found: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            found.append(torch.cuda.utilization())

    thread = threading.Thread(target=watch)
    try:
        torch.cuda.utilization()
    except (ModuleNotFoundError, RuntimeError):  # without the package that asks the driver
        yield found
        return
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def report(model: Path) -> None:
    """Print a line for each way to scan a model."""
    cpu_seconds, exact = scan(model, "cpu", "exact")
    print(f"{model.name}: {len(exact)} matrices; CPU exact {cpu_seconds:.2f} s", flush=True)
    for precision in ("exact", "fast"):
        with busy() as used:
            runs = [scan(model, "cuda", precision) for _ in range(REPEATS)]
        seconds, scores = min(runs, key=lambda run: run[0])
        share = f", GPU busy {sum(used) / len(used):.0f} %" if used else ""
        print(
            f"  {precision:5}  {seconds:6.2f} s  furthest {furthest(scores, exact):.1e}  "
            f"types in another order {other_orders(scores, exact)}{share}",
            flush=True,
        )


def float32_against_its_bound(device: str) -> None:
    """Print the largest error of a value in float32, in units of the bound on it: above 1.00 the
    bound is too narrow for this device."""
    generator = torch.Generator().manual_seed(1)
    for rows, columns in BOUND_SHAPES:
        base = normal(generator, rows, columns)
        chance = torch.rand(rows, columns, generator=generator)
        kinds = {
            "normal": base,
            "trained": with_signal(generator, rows, columns),
            "shifted": base + 3.0,
            "sparse": base * (chance < 0.01),
            "steep": base * torch.logspace(0, -2, columns),
            "orthogonal": torch.linalg.qr(base).Q,
        }
        worst = []
        for name, values in kinds.items():
            matrix = StoredMatrix(InMemory(values.to(torch.bfloat16)), rows, columns)
            exact = torch.linalg.svdvals(values.to(torch.bfloat16).double()).numpy()
            found, errors = gram_singular_values(matrix, device, FAST)
            worst.append((float(np.max(np.abs(found - exact) / errors)), name))
        share, kind = max(worst)
        print(f"float32, {rows}×{columns}: {share:.2f} of its bound ({kind})", flush=True)


def main() -> None:
    """Print what computes, how good its float32 is, then each model."""
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {describe()}")
    with full_float32(["cuda:0"]):
        float32_against_its_bound("cuda:0")
    for path in sys.argv[1:]:
        report(Path(path))
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            report(write_model(shape, Path(folder) / shape.name))


if __name__ == "__main__":
    main()
