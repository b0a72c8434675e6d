"""How long a user waits for the app: `python tests/benchmarks/bench_app.py`.

On a real pty: `--help`, the first paint, and a key (`?`, then escape) while a scan uses every
core. Prints medians and 95th percentiles in milliseconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_memory import write_checkpoint
from tests.pty.terminal import PROGRAM, Terminal

RUNS = 7
KEYS = 40


def show(what: str, seconds: Sequence[float]) -> None:
    """One line of figures."""
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    print(f"{what:<34} median {statistics.median(ordered) * 1e3:6.0f}   p95 {high * 1e3:6.0f}")


def timed(command: Sequence[str]) -> float:
    """Seconds of a whole process."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def first_paint(environment: dict[str, str], folder: Path) -> float:
    """Seconds from the start of the process to the setup screen."""
    begin = time.perf_counter()
    with Terminal(PROGRAM, environment, cwd=folder) as terminal:
        terminal.wait_for("Model")
        return time.perf_counter() - begin


def keys_during_scan(environment: dict[str, str], folder: Path) -> list[float]:
    """Seconds from a key to the screen that it brings, while every core computes."""
    waits = []
    with Terminal((*PROGRAM, "./model"), environment, cwd=folder, columns=120, rows=40) as terminal:
        terminal.wait_for("BF16")
        terminal.send("\x0e")
        terminal.wait_for("about")
        terminal.send("s")
        terminal.wait_for("in work", timeout=60)
        terminal.pump(2.0)
        for _ in range(KEYS):
            for key, pattern in (("?", r"(?i)keys"), ("\x1b", r"in work")):
                begin = time.perf_counter()
                terminal.send(key)
                terminal.wait_for(pattern)
                waits.append(time.perf_counter() - begin)
                terminal.pump(0.1)
    return waits


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "SPECTRUM_TUI_CACHE": f"{name}/cache",
            "HF_HOME": f"{name}/hf",
            "HF_HUB_OFFLINE": "1",
        }
        show("--help", [timed((*PROGRAM, "--help")) for _ in range(RUNS)])
        show("first paint", [first_paint(environment, folder) for _ in range(RUNS)])
        (folder / "model").mkdir()
        write_checkpoint(folder / "model", 2e9)
        show("key while every core computes", keys_during_scan(environment, folder))


if __name__ == "__main__":
    main()
