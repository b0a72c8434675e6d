"""What a toggle and a page of the layer tree cost at 50,000 nodes.

Processor time: screens are drawn at 60 Hz, so that wall time measures the wait for the next frame.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from textual.app import App, ComposeResult

from spectrum_tui.app.widgets.layer_tree import LayerTree
from spectrum_tui.core.layer_types import Group, TypeInfo
from tests.benchmarks.machine import describe

TYPES = [
    TypeInfo(
        name=f"mlp.experts.{i}.{part}",
        group=Group.EXPERTS,
        layers=1,
        parameters=1_000_000,
        cost=1.0,
    )
    for i in range(12_500)
    for part in ("down_proj", "gate_proj", "up_proj", "w4")
]


class Bench(App[None]):
    """Nothing but the tree."""

    def compose(self) -> ComposeResult:
        yield LayerTree(TYPES)


async def median_ms(app: App[None], act: Callable[[], None], times: int = 30) -> float:
    """Processor time from the action to the frame that shows it."""
    seconds = []
    for _ in range(times):
        drawn = asyncio.Event()
        start = time.process_time()
        act()
        app.call_after_refresh(drawn.set)
        await drawn.wait()
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


async def main() -> None:
    print(describe())
    app = Bench()
    async with app.run_test(size=(120, 40)) as pilot:
        lines = app.query_one(LayerTree).lines
        await pilot.pause()
        print(f"{len(lines.model):,} nodes")
        print(f"toggle all of them  {await median_ms(app, lines.action_check):6.1f} ms")
        lines.action_move(1)
        lines.action_unfold()
        await pilot.pause()
        print(f"a page              {await median_ms(app, lambda: lines.action_page(1)):6.1f} ms")
        print(f"toggle one          {await median_ms(app, lines.action_check):6.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
