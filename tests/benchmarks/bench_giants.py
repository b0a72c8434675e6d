"""How ten giants are looked at before a download: `python tests/benchmarks/bench_giants.py`.

A fake hub serves their headers. The app types each id, waits for the facts, then for the exact
names, and opens the layers. Prints the seconds from enter to each (medians of `--runs`, 1 by
default), the worker's peak memory, and the parameters against the published count. With
`--names`, a further process compares the names with those of the class of transformers;
`--pictures DIR` keeps what the screens show as SVG.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.giants.hub import StillHub, giants_below
from tests.giants.models import GIANTS

PATIENCE = 120.0
SIZES = ((80, 24), (120, 40))
NAMES = """
import json, sys
from spectrum_tui.core.audit.model_names import model_names
from spectrum_tui.core.settings import Settings
from tests.giants.models import GIANTS
from tests.giants.parts import named_by_transformers

ours = set(model_names(Settings(model=sys.argv[1])).names)
try:
    theirs = set(named_by_transformers(GIANTS[sys.argv[1]]().config))
except ValueError:
    print("not in transformers")
else:
    print(f"missing {len(theirs - ours)}, extra {len(ours - theirs)}")
"""


def main() -> None:
    """Print a line for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=list(GIANTS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        models = [_id_of(name) for name in asked.models]
        with StillHub(giants_below(place / "repos", *models)) as hub:
            hub.signed_seconds = 3600
            for model in models:
                hub.commit(model)
                print(_line(hub, model, place, asked), flush=True)


def _id_of(name: str) -> str:
    return next(model for model in GIANTS if name in model)


def _line(hub: StillHub, model: str, place: Path, asked: argparse.Namespace) -> str:
    """Return what looking at one model takes; each run begins without any cache."""
    runs = [_in_the_app(hub, model, place / f"run{n}", asked.pictures) for n in range(asked.runs)]
    first, exact = (statistics.median(run[k] for run in runs) for k in ("first", "exact"))
    memory = max(run["memory"] for run in runs)
    parameters, published = runs[0]["parameters"] / 1e9, GIANTS[model]().parameters
    off = parameters / published - 1
    figures = (
        f"{model.split('/')[1]:<20} {runs[0]['tensors']:>7,} tensors  facts {first:4.1f} s  "
        f"names {exact:4.1f} s  {memory / 2**20:5.0f} MB  {parameters:8.2f} B ({off:+.3%})  "
        f"{runs[0]['types']:>3} types  {runs[0]['looked_up']:>4} look-ups"
    )
    return f"{figures}  {_names(hub, model, place)}" if asked.names else figures


def _environment(hub: StillHub, home: Path) -> dict[str, str]:
    home.mkdir(parents=True, exist_ok=True)
    places = {"HF_HOME": home / "hf", "SPECTRUM_TUI_CACHE": home / "cache", "HOME": home}
    return (
        os.environ
        | {name: str(path) for name, path in places.items()}
        | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
    )


def _names(hub: StillHub, model: str, place: Path) -> str:
    command = [sys.executable, "-c", NAMES, model]
    done = subprocess.run(
        command, env=_environment(hub, place / "names"), capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def _in_the_app(hub: StillHub, model: str, home: Path, pictures: Path | None) -> dict[str, Any]:
    """Return the figures of one look, taken in a process of its own."""
    before = len(hub.requests)
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--look", model, str(pictures or "")]
    environment = _environment(hub, home / model.split("/")[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    looked_up = sum(request.status == 302 for request in hub.requests[before:])
    return {**json.loads(done.stdout.splitlines()[-1]), "looked_up": looked_up}


# -- in the process of one look ----------------------------------------------------------------


async def look(model: str, pictures: str) -> dict[str, Any]:
    """Type a model, and wait for its layers under the exact names."""
    from textual.widgets import Input

    from spectrum_tui.app.app import SpectrumApp
    from spectrum_tui.core.settings import Settings

    app = SpectrumApp(Settings(device="cpu"))
    async with app.run_test(size=SIZES[0]) as pilot:
        app.setup_screen.query_one("#model", Input).value = model
        await pilot.press("enter")
        begin = time.perf_counter()
        await _until(lambda: app.setup_screen.summary)
        first = time.perf_counter() - begin
        await _until(lambda: app.setup_screen.summary and app.setup_screen.summary.naming)
        exact = time.perf_counter() - begin
        memory = _peak(app.runner.pid)
        summary = app.setup_screen.summary
        assert summary is not None
        for name in _shown(model, pictures):
            await pilot.pause()
            app.save_screenshot(f"{name}-setup-80x24.svg", pictures)
            await pilot.press("ctrl+n")
            await _until(lambda: app._machine)
            for width, height in SIZES:
                await pilot.resize_terminal(width, height)
                await pilot.pause()
                app.save_screenshot(f"{name}-layers-{width}x{height}.svg", pictures)
    return {
        "first": first,
        "exact": exact,
        "memory": memory,
        "parameters": summary.parameters,
        "tensors": summary.tensors,
        "types": len(summary.types),
    }


def _shown(model: str, pictures: str) -> Iterator[str]:
    if pictures:
        yield model.split("/")[1]


async def _until(found: Any) -> None:
    end = time.perf_counter() + PATIENCE
    while not found():
        if time.perf_counter() > end:
            sys.exit("nothing came")
        await asyncio.sleep(0.02)


def _peak(pid: int | None) -> int:
    """Bytes that a process has held at most; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        print(json.dumps(asyncio.run(look(sys.argv[2], sys.argv[3]))))
        os._exit(0)
    main()
