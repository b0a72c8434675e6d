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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App

HERE = Path(__file__).parent
SIZE = (120, 36)
OLD_RECIPE = """\
unfrozen_parameters:
- ^lm_head.weight$
- ^model.embed_tokens.weight$
# mlp.down_proj layers
- model.layers.0.mlp.down_proj
- model.layers.1.mlp.down_proj
# self_attn.q_proj layers
- ^model\\.layers\\.0\\.self_attn\\.q_proj\\.weight$
- "model.layers.1.self_attn.q_proj.weight"  # snr 0.31
- model.layers.99.self_attn.q_proj.weight
"""


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def still(app: App[Any]) -> None:
    """Wait until the screen has not changed for 0.4 s: less than a blink of the cursor."""
    before = ""
    while (seen := app.export_screenshot()) != before:
        before = seen
        await asyncio.sleep(0.4)


async def take(folder: str) -> None:
    """Go through the app as a user would and write a picture of each screen."""
    from spectrum_tui.app.app import SpectrumApp
    from spectrum_tui.core.settings import DEMO, Settings

    app = SpectrumApp(Settings(model=DEMO, output_dir="recipes"), demo=True)

    async with app.run_test(size=SIZE) as pilot:

        async def shown(name: str) -> None:
            await until(lambda: type(app.screen).__name__ == name)
            await pilot.pause(0.3)

        await until(lambda: bool((found := app.setup_screen.summary) and found.naming))
        await still(app)
        picture(app, folder, "setup")
        await pilot.press("ctrl+n")
        await shown("LayersScreen")
        await until(lambda: app._machine is not None)
        await still(app)
        picture(app, folder, "layers")
        await pilot.press("s")
        await shown("ScanScreen")
        await until(lambda: app.runner.progress.snapshot().share > 0.55)
        await pilot.pause(0.1)
        picture(app, folder, "scan")
        await shown("ResultsScreen")
        await pilot.press("2", "5")
        await pilot.pause(1.2)  # digits are one number until a second has passed
        await still(app)
        picture(app, folder, "results-heatmap")
        await pilot.press("t")
        await still(app)
        picture(app, folder, "results-table")
        await pilot.press("y")
        await still(app)
        picture(app, folder, "results-yaml")
        await pilot.press("w")
        await still(app)
        picture(app, folder, "save")
        await pilot.press("escape", "t", "f")
        await still(app)
        picture(app, folder, "memory")
        await pilot.press("escape", "a")
        await still(app)
        picture(app, folder, "adapters")


async def take_audit(folder: str) -> None:
    """Audit a recipe as another tool would have written it."""
    from spectrum_tui.app.app import SpectrumApp
    from spectrum_tui.app.screens.audit import AuditScreen
    from spectrum_tui.core.settings import Settings

    recipe = Path(folder) / "recipe.yaml"
    recipe.write_text(OLD_RECIPE, encoding="utf-8")
    app = SpectrumApp(Settings(), results=recipe)
    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: isinstance(app.screen, AuditScreen))
        screen = app.screen
        assert isinstance(screen, AuditScreen)
        await pilot.press("m", *"demo", "enter")
        await until(lambda: bool(screen.audit.naming))
        await still(app)
        picture(app, folder, "audit")


def picture(app: App[Any], folder: str, name: str) -> None:
    """Write what is on the screen."""
    svg = app.export_screenshot(title="spectrum-tui", simplify=True)
    (HERE / f"{name}.svg").write_text(svg.replace(folder, "~/recipes"), encoding="utf-8")
    print(name)


def main() -> None:
    """Take the pictures with caches of their own, from a folder that a reader may see."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPECTRUM_TUI_CACHE"] = f"{folder}/cache"
        os.environ["HF_HOME"] = f"{folder}/hf"
        os.chdir(folder)
        os.environ["COLORTERM"] = "truecolor"
        os.environ.pop("NO_COLOR", None)
        asyncio.run(take(folder))
        asyncio.run(take_audit(folder))


if __name__ == "__main__":
    main()
