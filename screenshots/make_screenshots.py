"""Makes the README's pictures from a real run: `python screenshots/make_screenshots.py`.

The app scans the demonstration model with its real worker process; each screen is written as an
SVG beside this script. The scores are the same in every run, times and rates are not.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
SIZE = (120, 36)


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def take(folder: str) -> None:
    """Go through the app as a user would and write a picture of each screen."""
    from spectrum_tui.app import SpectrumApp
    from spectrum_tui.core.requests import DEMO
    from spectrum_tui.settings import Settings

    app = SpectrumApp(Settings(DEMO, output_dir="recipes"), demo=True)

    def picture(name: str) -> None:
        svg = app.export_screenshot(title="spectrum-tui", simplify=True)
        (HERE / f"{name}.svg").write_text(svg.replace(folder, "~/recipes"), encoding="utf-8")
        print(name)

    async with app.run_test(size=SIZE) as pilot:

        async def shown(name: str) -> None:
            await until(lambda: type(app.screen).__name__ == name)
            await pilot.pause(0.3)

        await until(lambda: app.setup_screen.summary is not None)
        await pilot.pause(0.5)
        picture("setup")
        await pilot.press("ctrl+n")
        await shown("LayersScreen")
        await until(lambda: app._machine is not None)
        await pilot.pause(0.3)
        picture("layers")
        await pilot.press("s")
        await shown("ScanScreen")
        await until(lambda: app.runner.progress.snapshot().share > 0.55)
        await pilot.pause(0.1)
        picture("scan")
        await shown("ResultsScreen")
        await pilot.press("2", "5")
        await pilot.pause(1.2)
        picture("results-table")
        await pilot.press("m")
        await pilot.pause(0.3)
        picture("results-heatmap")
        await pilot.press("y")
        await pilot.pause(0.3)
        picture("results-yaml")
        await pilot.press("w")
        await pilot.pause(0.3)
        picture("save")


def main() -> None:
    """Take the pictures with caches of their own, from a folder that a reader may see."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPECTRUM_TUI_CACHE"] = f"{folder}/cache"
        os.environ["HF_HOME"] = f"{folder}/hf"
        os.chdir(folder)
        os.environ["COLORTERM"] = "truecolor"
        os.environ.pop("NO_COLOR", None)
        asyncio.run(take(folder))


if __name__ == "__main__":
    main()
