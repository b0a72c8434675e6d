"""How long a user waits for the app: `python tests/benchmarks/bench_app.py`.

On a real pty: `--help`, the first paint, keys and dialogs while a scan uses every core, and
quitting in the middle of a matrix that takes half a minute. Prints what it was measured on,
medians and 95th percentiles in milliseconds. Names of measurements as arguments choose some:
`help`, `paint`, `keys`, `quit`.
"""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from safetensors.numpy import save_file

from tests.benchmarks.bench_memory import write_checkpoint
from tests.benchmarks.machine import describe
from tests.pty.terminal import PROGRAM, Terminal

RUNS = 7
KEYS = 40
CONTINUE, QUIT = "\x0e", "\x11"

IN_SCAN = {
    "a key while every core computes": (("f", b"Failures:"), ("f", b"newest")),
    "a dialog while every core computes": (("?", b"closes"), ("q", b"newest")),
}
"""Keys and what they bring (not escape: an app waits 0.1 s after it for the rest of a key)."""


def show(what: str, seconds: Sequence[float]) -> None:
    """One line of figures."""
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    print(f"{what:<36} median {statistics.median(ordered) * 1e3:6.0f}   p95 {high * 1e3:6.0f}")


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


def to_scan(terminal: Terminal) -> None:
    """From the start of the app to its scan."""
    terminal.wait_for("LlamaForCausalLM", timeout=60)
    terminal.send(CONTINUE)
    terminal.wait_for("This scan", timeout=60)
    terminal.send("s")
    terminal.wait_for("In progress", timeout=60)


def keys_during_scan(environment: dict[str, str], folder: Path) -> dict[str, list[float]]:
    """Seconds from a key to what it brings, while every core computes."""
    waits: dict[str, list[float]] = {what: [] for what in IN_SCAN}
    with Terminal((*PROGRAM, "./model"), environment, cwd=folder, columns=120, rows=40) as terminal:
        to_scan(terminal)
        terminal.wait_for("Failures", timeout=120)
        terminal.pump(2.0)
        for what, keys in [*IN_SCAN.items()] * KEYS:
            try:
                for key, text in keys:
                    seconds = terminal.seconds_until(key, text, timeout=5.0)
                    terminal.pump(0.2)
                    waits[what].append(seconds)
            except AssertionError:
                if is_scanning(terminal):
                    raise
            if not is_scanning(terminal):
                print(f"The scan ended after {len(waits[what]) // 2} of {KEYS} rounds of keys.")
                break
    return {what: seconds for what, seconds in waits.items() if seconds}


def is_scanning(terminal: Terminal) -> bool:
    """Whether every core still computes: what came after would be measured on an idle machine."""
    return "In progress" in terminal.screen()


def break_first_value(checkpoint: Path) -> None:
    """A NaN in the first matrix: the scan screen has a failure to show, and a key for it."""
    with checkpoint.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + length)
        file.write(struct.pack("<H", 0x7FC0))


def quit_in_a_matrix(environment: dict[str, str], folder: Path) -> float:
    """Seconds from the answer "leave" to the end of the process, a long matrix being in work."""
    with Terminal((*PROGRAM, "./long"), environment, cwd=folder) as terminal:
        to_scan(terminal)
        terminal.wait_for("8,?192 × 8,?192", timeout=60)
        terminal.pump(1.0)
        terminal.send(QUIT)
        terminal.wait_for("Leave")
        begin = time.perf_counter()
        terminal.send("y")
        terminal.wait(30)
        return time.perf_counter() - begin


def write_long_matrix(folder: Path) -> None:
    """A model of one matrix of 8,192 x 8,192: its eigenvalues take half a minute on a core."""
    folder.mkdir()
    matrix = np.random.default_rng(0).standard_normal((8192, 8192), dtype=np.float32)
    save_file(
        {"model.layers.0.mlp.up_proj.weight": matrix.astype(np.float16)},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')


def main() -> None:
    wanted = sys.argv[1:] or ["help", "paint", "keys", "quit"]
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "SPECTRUM_TUI_CACHE": f"{name}/cache",
            "HF_HOME": f"{name}/hf",
            "HF_HUB_OFFLINE": "1",
        }
        if "help" in wanted:
            show("--help", [timed((*PROGRAM, "--help")) for _ in range(RUNS)])
        if "paint" in wanted:
            show("first paint", [first_paint(environment, folder) for _ in range(RUNS)])
        if "quit" in wanted:
            write_long_matrix(folder / "long")
            runs = [quit_in_a_matrix(environment, folder) for _ in range(3)]
            show("quit in the middle of a matrix", runs)
        if "keys" in wanted:
            (folder / "model").mkdir()
            write_checkpoint(folder / "model", 2e9)
            break_first_value(folder / "model" / "model.safetensors")
            for what, waits in keys_during_scan(environment, folder).items():
                show(what, waits)


if __name__ == "__main__":
    main()
