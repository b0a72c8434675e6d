"""How true the time left is: `python -m tests.benchmarks.bench_eta [--precision exact|fast]`.

Made-up models are scanned on the CPU with an empty cache; after every matrix the estimate is noted.
Prints estimate over truth before the scan, by what is measured with the model's usual shape, and at
20, 40, 60 and 80 % of the time; and the seconds per unit of `svd.cost` of every shape: where these
differ much, the cost function wants new constants.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.naming.layers import plan_layers
from spectrum_tui.core.naming.parameters import plain_source
from spectrum_tui.core.naming.stored import stored_plan
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scanning.speed import rate_of, usual_shape
from spectrum_tui.core.scoring import svd
from spectrum_tui.worker.progress import ScanProgress
from tests.benchmarks.machine import describe
from tests.benchmarks.models import Shape, write_model

MODELS = (
    Shape("Llama-shaped, 135 M", 30, 576, 1536, 49_152, 9, 3),
    Shape("large vocabulary", 4, 896, 4864, 151_936, 14, 2, qwen=True),
)
SHARES = (0.2, 0.4, 0.6, 0.8)
Noted = list[tuple[float, float]]
"""(seconds since the start, seconds left as estimated then)."""


def noted(folder: Path, precision: str) -> tuple[float, Noted, float, list[LayerDone]]:
    """What was estimated before and when, the seconds of the whole scan, and its layers."""
    checkpoint = read_checkpoint(folder)
    sources = map(plain_source, checkpoint.tensors)
    layers = plan_layers(stored_plan(checkpoint, sources, "")).layers
    plan = make_plan(checkpoint, layers, device="cpu", precision=precision)
    before = plan.cost * rate_of(plan.devices, usual_shape(layers), precision)
    progress, found, done = ScanProgress(), [], []
    progress.begin()
    begin = time.perf_counter()
    for event in scan(plan):
        progress.feed(event)
        if isinstance(event, LayerDone):
            done.append(event)
            if (eta := progress.snapshot().eta) is not None:
                found.append((time.perf_counter() - begin, eta))
    return before, found, time.perf_counter() - begin, done


def ratios(found: Noted, total: float) -> list[str]:
    """Estimate over truth at each of `SHARES`, by the last estimate before it."""
    cells = []
    for share in SHARES:
        before = [(at, eta) for at, eta in found if at <= share * total] or found[:1]
        at, eta = before[-1]
        cells.append(f"{eta / (total - at):.2f}")
    return cells


def rates(done: list[LayerDone], precision: str) -> list[str]:
    """Median seconds per unit of cost of every shape."""
    shapes: dict[tuple[int, ...], list[float]] = {}
    for layer in done:
        if len(layer.shape) == 2:
            shapes.setdefault(layer.shape, []).append(
                layer.seconds / svd.cost(*layer.shape, precision)
            )
    return [
        f"  {'×'.join(map(str, shape)):>14}  {statistics.median(of):.2e} s"
        for shape, of in sorted(shapes.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="How true the time left is.")
    parser.add_argument("--precision", choices=(svd.EXACT, svd.FAST), default=svd.EXACT)
    options = parser.parse_args()
    print(describe())
    for number, shape in enumerate(MODELS):
        with tempfile.TemporaryDirectory() as place:
            os.environ["SPECTRUM_TUI_CACHE"] = f"{place}/cache"
            folder = write_model(shape, Path(place) / f"model-{number}")
            before, found, total, done = noted(folder, options.precision)
        parts = ", ".join(
            f"{r} at {s:.0%}" for r, s in zip(ratios(found, total), SHARES, strict=True)
        )
        print(
            f"{shape.name}, {options.precision}: {total:.1f} s; estimate over truth "
            f"{before / total:.2f} before, {parts}"
        )
        print("\n".join(rates(done, options.precision)), flush=True)


if __name__ == "__main__":
    main()
