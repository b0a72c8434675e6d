"""How long the results screen takes with 60,000 layers; `python tests/benchmarks/bench_results.py`.

A headless app does not turn its frames into terminal output, so `_display` does it here: what is
timed ends when the bytes for the terminal are ready. Keys wait for the app to be idle before.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate
from textual.app import App
from textual.screen import Screen

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.core.saved.store import load_result, save_scores
from spectrum_tui.core.settings import Settings
from tests import made
from tests.benchmarks.machine import describe

LAYERS, TYPES = 61, 984
SIZES = ((80, 24), (120, 40), (160, 50), (200, 50))
TARGET_OPEN, TARGET_KEY = 1000.0, 16.0
PERCENTS = (
    ("±1 %", ("plus", "plus", "underscore")),
    ("±10 %", ("shift+right", "shift+left")),
    ("3 ↔ 9 %", ("3", "9")),
)
STEPS = (
    *(("m", name, keys) for name, keys in PERCENTS),
    ("m", "cursor right, down", ("right", "right", "down")),
    ("m", "pin, undo", ("space", "u")),
    ("m", "type ±1 %", ("greater_than_sign", "less_than_sign")),
    ("m", "blocks", ("right_square_bracket", "left_square_bracket")),
    *(("t", name, keys) for name, keys in PERCENTS),
    ("t", "cursor move", ("down",)),
    ("t", "cursor past the edge", ("pagedown", "down")),
    ("t", "page", ("pagedown",)),
)
"""View, what is done, and the keys that do it in turn."""
QUIET = 0.25
"""Seconds without a frame after which the app counts as idle: above the preview's debounce."""


class Timed(App[None]):
    """Opens a score file and notes when each frame's bytes are ready."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.frames: list[float] = []
        self.bytes = 0

    def on_mount(self) -> None:
        self.push_screen(ResultsScreen(ResultState(load_result(self.path), Settings())))

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate):
            self.bytes += len(renderable.render_segments(self.console))
            if isinstance(self.screen, ResultsScreen):
                self.frames.append(time.perf_counter())
        super()._display(screen, renderable)

    async def idle(self) -> None:
        """Until no frame was drawn for a while."""
        seen = -1
        while seen != len(self.frames):
            seen = len(self.frames)
            await asyncio.sleep(QUIET)

    async def key(self, name: str) -> tuple[float, int]:
        """Milliseconds from a key to its first frame, and the frames within 60 ms."""
        await self.idle()
        self.frames.clear()
        start = time.perf_counter()
        self.post_message(events.Key(name, name if len(name) == 1 else None))
        while not self.frames:
            await asyncio.sleep(0)
        first = self.frames[0]
        await asyncio.sleep(0.06)
        return (first - start) * 1000, len(self.frames)


async def measure(path: Path, size: tuple[int, int], repeats: int) -> bool:
    app = Timed(path)
    start = time.perf_counter()
    good = True
    async with app.run_test(size=size):
        while not app.frames:
            await asyncio.sleep(0)
        opened = (app.frames[0] - start) * 1000
        await app.idle()
        good &= report(size, "open, first full frame", [opened], TARGET_OPEN, 0)
        for view, name, keys in STEPS:
            await app.key(view)
            taken = [await app.key(keys[i % len(keys)]) for i in range(repeats)]
            frames = max(count for _, count in taken)
            title = f"{'map' if view == 'm' else 'table'}: {name}"
            good &= report(size, title, [ms for ms, _ in taken], TARGET_KEY, frames)
    return good


def report(
    size: tuple[int, int], name: str, taken: list[float], target: float, frames: int
) -> bool:
    median = statistics.median(taken)
    p95 = sorted(taken)[int(0.95 * (len(taken) - 1))]
    verdict = "ok" if median <= target else f"above {target:.0f}"
    shape = f"{size[0]}x{size[1]}"
    print(f"{shape:8} {name:24} {median:8.1f} ms   p95 {p95:8.1f} ms   frames {frames}  {verdict}")
    return median <= target


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPECTRUM_TUI_CACHE"] = str(Path(folder, "cache"))
        result = made.with_parameters(made.result(layers=LAYERS, types=TYPES))
        files = save_scores(result, Path(folder))
        print(describe())
        print(f"{len(result.scores):,} layers of {TYPES} types, {repeats} keys each")
        good = [asyncio.run(measure(files.scores, size, repeats)) for size in SIZES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
