"""Makes the README's pictures from a real run: `python screenshots/make_screenshots.py`.

The app scans the demonstration model with its real worker process; each screen is written as an
SVG beside this script. The scores are the same in every run, times and rates are not.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App

    from spectrum_tui.app.app import SpectrumApp

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


TOUR = (
    (("plus",) * 3, 0.7),
    (("plus",) * 3, 0.7),
    (("down", "right", "right", "space"), 1.4),
    (("down", "right", "minus"), 1.4),
    (("greater_than_sign",) * 4, 1.4),
    (("right_square_bracket",) * 3, 1.6),
    (("u", "u", "u"), 1.4),
    (("w",), 2.5),
    (("escape",), 0.5),
)
"""What is pressed on the results, and for how many seconds its picture stays."""


@dataclass(frozen=True)
class Frame:
    """A picture of the tour, and how long it stays."""

    svg: str
    seconds: float


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def scanned(app: SpectrumApp, share: float) -> bool:
    """Whether the scan is further than this."""
    return app.runner.progress.snapshot().share > share


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
        tour = [Frame(exported(app, folder), 2.0)]
        await pilot.press("s")
        await until(lambda: type(app.screen).__name__ == "ScanScreen")  # it is over in a second
        for share in (0.2, 0.4, 0.55, 0.8):
            await until(partial(scanned, app, share))
            await pilot.pause(0.1)
            tour.append(Frame(exported(app, folder), 0.8))
            if share == 0.55:
                picture(app, folder, "scan")
        await shown("ResultsScreen")
        await still(app)
        tour.append(Frame(exported(app, folder), 2.0))
        for typed, seconds in TOUR:
            await pilot.press(*typed)
            await still(app)
            tour.append(Frame(exported(app, folder), seconds))
        (HERE / "tour.svg").write_text(animated(tour), encoding="utf-8")
        await pilot.press(*["u"] * 20, "2", "5")
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


def exported(app: App[Any], folder: str) -> str:
    """Return what is on the screen as an SVG."""
    return app.export_screenshot(title="spectrum-tui", simplify=True).replace(folder, "~/recipes")


def picture(app: App[Any], folder: str, name: str) -> None:
    """Write what is on the screen."""
    (HERE / f"{name}.svg").write_text(exported(app, folder), encoding="utf-8")
    print(name)


def animated(frames: Sequence[Frame]) -> str:
    """Return one SVG that shows each frame for its seconds, over and over; the last one alone to
    readers who want no motion, and in programs that draw none."""
    whole = sum(frame.seconds for frame in frames)
    rules, start = [], 0.0
    for number, frame in enumerate(frames):
        shown, gone = 100 * start / whole, 100 * (start + frame.seconds) / whole
        first = "" if not number else "0% { visibility: hidden } "
        rules.append(
            f"@keyframes f{number} {{ {first}{shown:.3f}% {{ visibility: visible }} "
            f"{gone:.3f}% {{ visibility: hidden }} }}\n"
            f".f{number} {{ animation: f{number} {whole:g}s step-end infinite }}"
        )
        start += frame.seconds
    last = f".f{len(frames) - 1}"
    rules += [
        f".frame {{ visibility: hidden }} {last} {{ visibility: visible }}",
        "@media (prefers-reduced-motion: reduce) { .frame { animation: none } }",
    ]
    box = frames[0].svg.partition('viewBox="')[2].partition('"')[0]
    parts = []
    for number, frame in enumerate(frames):  # names of its own: two frames may be the same
        svg = frame.svg.replace("terminal-", f"terminal-{number}-")
        parts.append(f'<g class="frame f{number}">{svg}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
    return "\n".join([head, "<style>", *rules, "</style>", *parts, "</svg>", ""])


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
