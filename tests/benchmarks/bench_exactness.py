"""How exact the scores are: `python -m tests.benchmarks.bench_exactness [--largest 4096]`.

Matrices of every stored type, of shapes from 1×1, of rank 1 to full, from the smallest to the
largest numbers of their type, are scored from a file and compared with a float64 SVD by numpy.
Prints the worst relative error for each shape, and whether any is above 1e-9 (`fast`: 1e-4).
At 4096×4096 one SVD takes half a minute or more.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.parameters import Window, plain_source
from spectrum_tui.core.scoring.snr import spectrum_score
from spectrum_tui.core.scoring.svd import EXACT, FAST, singular_values
from tests import oracle
from tests.benchmarks.machine import describe

SHAPES = (
    *((1, 1), (1, 300), (2, 2), (3, 4096), (64, 64), (576, 1536), (1024, 256), (1000, 1000)),
    *((2048, 1024), (4096, 1024), (2048, 2048), (4096, 4096)),
)
TYPES = {torch.bfloat16: (-99, 99), torch.float16: (-24, 7), torch.float32: (-100, 99)}
"""Stored type: the powers of two that whole numbers up to 256 can be scaled by without rounding."""
PROMISED = {EXACT: 1e-9, FAST: 1e-4}


def matrices(rows: int, columns: int) -> Iterator[tuple[str, torch.Tensor]]:
    """(what it is, the matrix); the large shapes get each property once, not in every mixture."""
    short = min(rows, columns)
    rng = np.random.default_rng(rows + columns)
    small = rows * columns <= 10**6
    for number, (dtype, powers) in enumerate(TYPES.items()):
        name = str(dtype).removeprefix("torch.")
        for power in (*powers, 0) if small else (powers[number % 2],):
            values = torch.from_numpy(rng.standard_normal((rows, columns)))
            yield f"{name}, normal, 2^{power}", (values * 2.0**power).to(dtype)
        for rank in sorted({1, short // 3, short - 1} - {0}) if small else (short // 2,):
            left = rng.integers(-1, 2, (rows, rank)).astype(np.float32)
            right = rng.integers(-1, 2, (rank, columns)).astype(np.float32)
            product = torch.from_numpy(left @ right) * 2.0 ** powers[number % 2]
            yield f"{name}, rank {rank}", product.to(dtype)
    steep = np.logspace(0, -7, short)
    left = np.linalg.qr(rng.standard_normal((rows, short)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, short)))[0]
    yield "float32, seven decades", torch.from_numpy(left * steep @ right.T).float()


def score(folder: Path, tensor: torch.Tensor, precision: str) -> float:
    """The program's, from a file."""
    rows, columns = tensor.shape
    save_file({"w.weight": tensor.contiguous()}, folder / "model.safetensors")
    window = Window(plain_source(read_checkpoint(folder).tensors[0]), 0, columns)
    values = singular_values(window, rows, columns, "cpu", precision).values
    return spectrum_score(values, rows, columns).snr


def error(got: float, true: float) -> float:
    """Relative; 0 where both are the same infinity."""
    return 0.0 if got == true else abs(got - true) / max(abs(got), abs(true))


def main() -> None:
    parser = argparse.ArgumentParser(description="How exact the scores are.")
    parser.add_argument("--largest", type=int, default=4096, metavar="N", help="longest side")
    largest = parser.parse_args().largest
    print(describe())
    worst_of_all = dict.fromkeys(PROMISED, 0.0)
    with tempfile.TemporaryDirectory() as place:
        for rows, columns in (shape for shape in SHAPES if max(shape) <= largest):
            worst = dict.fromkeys(PROMISED, (0.0, ""))
            count = 0
            for what, tensor in matrices(rows, columns):
                if not bool(tensor.any()):
                    continue  # refused as having no score
                true = oracle.snr(oracle.as_matrix(tensor))
                count += 1
                for precision in PROMISED:
                    found = error(score(Path(place), tensor, precision), true)
                    worst[precision] = max(worst[precision], (found, what))
            cells = (f"{precision} {e:.1e} ({what})" for precision, (e, what) in worst.items())
            print(f"{rows}×{columns}, {count} matrices: worst {', '.join(cells)}", flush=True)
            worst_of_all = {p: max(worst_of_all[p], worst[p][0]) for p in PROMISED}
    for precision, limit in PROMISED.items():
        verdict = "within" if worst_of_all[precision] <= limit else "ABOVE"
        print(f"{precision}: worst {worst_of_all[precision]:.1e}, {verdict} {limit:.0e}")


if __name__ == "__main__":
    main()
