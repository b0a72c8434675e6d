"""What the map of a scan of 60,000 layers takes to follow: `tests/benchmarks/bench_scan_map.py`.

A thousand scores come between two updates, type by type or in random order. Processor time of the
app's thread, from the look at the scan until the bytes for the terminal are ready: a scan uses
every core besides.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import RenderableType
from textual._compositor import CompositorUpdate
from textual.screen import Screen

from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.core.events import LayerDone, ScanStarted
from spectrum_tui.worker.progress import ScanProgress
from tests.benchmarks.machine import describe

SIZES = ((80, 24), (120, 40), (200, 50))
AT_ONCE, TARGET = 1000, 50.0
KINDS = {
    "12 types, 5,000 blocks": [
        (f"mlp.part{kind}", [f"layers.{block}.mlp.part{kind}" for block in range(5000)])
        for kind in range(12)
    ],
    "80 blocks, 250 experts": [
        (f"mlp.experts.*.w{part}", [
            f"layers.{block}.mlp.experts.{expert}.w{part}"
            for block in range(80) for expert in range(250)
        ])
        for part in range(3)
    ],
}  # fmt: skip


class Timed(BaseApp):
    """Shows a scan, and notes when each frame's bytes are ready."""

    def __init__(self, progress: ScanProgress) -> None:
        super().__init__()
        self.scan = ScanScreen(progress, "made/large")
        self.frame = 0.0

    def get_default_screen(self) -> Screen[Any]:
        return self.scan

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate):
            renderable.render_segments(self.console)
            self.frame = time.thread_time()
        super()._display(screen, renderable)


def done(layer: str, kind: str) -> LayerDone:
    return LayerDone(
        layer=layer,
        type=kind,
        shape=(64, 64),
        metrics={"spectrum": random.random()},
        cost=1.0,
        bytes=8192,
        seconds=0.01,
    )


async def measure(
    kinds: list[tuple[str, list[str]]], size: tuple[int, int], *, shuffled: bool
) -> list[float]:
    progress = ScanProgress()
    progress.begin()
    names = [(layer, kind) for kind, layers in kinds for layer in layers]
    types = {kind: len(layers) for kind, layers in kinds}
    progress.feed(
        ScanStarted(
            layers=len(names),
            cost=float(len(names)),
            types=types,
            device="cpu",
            batch_size=4,
            names=tuple(layer for layer, _ in names),
        )
    )
    if shuffled:
        random.shuffle(names)
    app, taken = Timed(progress), []
    async with app.run_test(size=size) as pilot:
        while not app.scan.place:
            await asyncio.sleep(0.05)
        await pilot.pause()
        for first in range(0, len(names), AT_ONCE):
            for layer, kind in names[first : first + AT_ONCE]:
                progress.feed(done(layer, kind))
            app.frame, start = 0.0, time.thread_time()
            app.scan.poll()
            while not app.frame:
                await asyncio.sleep(0.001)
            taken.append((app.frame - start) * 1000)
            await asyncio.sleep(0.03)
    return taken


def main() -> None:
    print(describe())
    for what, kinds in KINDS.items():
        for size, shuffled in itertools.product(SIZES, (False, True)):
            taken = asyncio.run(measure(kinds, size, shuffled=shuffled))
            p95 = sorted(taken)[int(0.95 * (len(taken) - 1))]
            verdict = "ok" if p95 <= TARGET else f"above {TARGET:.0f}"
            median = statistics.median(taken)
            how = f"{size[0]}x{size[1]} {'random' if shuffled else 'by type'}"
            print(f"{what}  {how:15} {median:6.1f} ms   p95 {p95:6.1f} ms  {verdict}")


if __name__ == "__main__":
    main()
