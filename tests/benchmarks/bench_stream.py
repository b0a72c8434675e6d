"""A scan without a download against a download and a scan, over lines of several speeds:
`python tests/benchmarks/bench_stream.py [LAYERS [MB/S ...]]`.

A bfloat16 checkpoint of the shape of Qwen3 (34 layers by default: 984 MB) is served by a hub on
127.0.0.1 whose line all connections share; each scan is a process of its own with empty caches.
Last, two types of matrices alone. The memory of a streamed scan is to be compared with that of the
folder's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import fake_hub
from tests.benchmarks.machine import describe
from tests.benchmarks.models import Shape, write_model
from tests.fake_hub import FakeHub

REPO = "org/bench"
SPEEDS = (100, 50, 25)
TWO_TYPES = ("--types", "self_attn.k_proj", "self_attn.q_proj")


@dataclass(frozen=True)
class Run:
    """A process that ended: seconds, peak resident memory and bytes that the hub sent, and the
    scores that it wrote."""

    seconds: float
    memory: int
    sent: int
    scores: bytes


def run(hub: FakeHub, folder: Path, name: str, *arguments: str) -> Run:
    """Scan in a process of its own, with caches of its own."""
    place = folder / name
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(place / "hf"),
        "SPECTRUM_TUI_CACHE": str(place / "cache"),
    }
    command = [sys.executable, "-m", "spectrum_tui", "scan", *arguments]
    command += ["--device", "cpu", "--output-dir", str(place / "out")]
    before, begin = hub.bytes_sent, time.perf_counter()
    memory = 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=said
        )
        while process.poll() is None:
            memory = max(memory, peak(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    (scores,) = (place / "out").rglob("snr_results_*[!d].json")
    return Run(seconds, memory, hub.bytes_sent - before, scores.read_bytes())


def peak(process: int) -> int:
    """Bytes that were resident at most, 0 where the system does not tell. Not what is accounted at
    its end: that begins with the memory of whoever started it."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        for entry in status.splitlines():
            if entry.startswith("VmHWM:"):
                return int(entry.split()[1]) * 1024
    return 0


def line(what: str, found: Run) -> None:
    """Print one row."""
    print(
        f"{what:<34}{found.seconds:8.1f} s{found.sent / 1e6:10.0f} MB"
        f"{found.memory / 2**20:10.0f} MiB",
        flush=True,
    )


def same(one: Run, other: Run) -> None:
    """Stop where two scans wrote other scores."""
    if json.loads(one.scores) != json.loads(other.scores):
        sys.exit("the scores differ")


def main() -> None:
    """Print the table."""
    layers = int(sys.argv[1]) if len(sys.argv) > 1 else 34
    speeds = tuple(map(int, sys.argv[2:])) or SPEEDS
    print(describe())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(Shape("qwen", layers, 1024, 3072, 32_000, 16, 8, qwen=True), folder / "model")
        fake_hub.GIANT = 2**40  # all of it is to be hashed
        with FakeHub({REPO: folder / "model"}) as hub:
            hub.signed_seconds = 3600.0
            print(f"{'':<34}{'time':>10}{'sent':>13}{'peak memory':>14}")
            local = run(hub, folder, "local", str(folder / "model"))
            line("the folder", local)
            for speed in speeds:
                hub.rate = speed * 1e6
                fetched = run(hub, folder, f"fetched{speed}", REPO, "--download")
                line(f"{speed} MB/s: download, then scan", fetched)
                streamed = run(hub, folder, f"streamed{speed}", REPO, "--stream")
                line(f"{speed} MB/s: without a download", streamed)
                same(fetched, streamed)
            two = run(hub, folder, "two", REPO, "--stream", *TWO_TYPES)
            line(f"{speeds[-1]} MB/s: two types, without", two)


if __name__ == "__main__":
    main()
