"""Which library a long scan on a CPU computes with: OpenBLAS, or torch's MKL where that is faster.

Measured in a process of its own, so that torch, 0.2 GB of memory and a second, is imported for a
scan only where it pays. Which of the two it is matters to the time alone: scores in float64 differ
by 1e-12 at the most, those of `fast` are in the same proven order. It is measured once on a
machine and kept, so that chance does not choose anew for each scan.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.own_process import own_environment
from spectrum_tui.core.platforms import cores, cpu_name, thread_seconds
from spectrum_tui.core.scanning.devices import one_thread_each
from spectrum_tui.core.scanning.speed import USUAL, work_of
from spectrum_tui.core.scoring import openblas
from spectrum_tui.core.scoring.svd import TORCH_ON_CPU

GAIN = 1.15
"""How many times as fast torch must be to be taken."""

WORTH = 60.0
"""Seconds of a scan from which it is worth to measure, which takes two."""

LARGEST = 1024
"""Columns of what is measured at the most: 0.1 s a run."""

RUNS = 3
PATIENCE = 60.0
"""Seconds after which there is no answer: the disk that torch comes from is slow."""

_X86 = ("x86_64", "amd64", "i386", "i686")
_FORM = "library 1"


def times_as_fast(cost: float, columns: int, precision: str) -> float:
    """Return how many times as fast torch is as OpenBLAS on this CPU, for work of `cost` with
    matrices of so many columns; 0 where it is not worth to measure, or there is no MKL."""
    if cost * USUAL / cores() < WORTH or platform.machine().lower() not in _X86:
        return 0.0
    columns = min(columns, LARGEST)
    path = _path(columns, precision)
    kept = read_kept(path, _FORM)
    found = _number(kept) if kept is not None else None
    if found is None:
        found = _measured(columns, precision)
        with contextlib.suppress(OutputError):
            write_kept(path, _FORM, json.dumps(found))
    return found


def note_of(gain: float) -> str:
    """Return what is said of a scan that torch computes."""
    return f"Computed with torch's MKL: {gain:.1f} times as fast here as OpenBLAS."


def _path(columns: int, precision: str) -> Path:
    """Return where the answer for this CPU and these libraries is kept."""
    packages = (_version(name) for name in ("torch", "numpy", "scipy-openblas64"))
    key = repr((cpu_name(), *packages, columns, precision))
    return cache_dir() / "libraries" / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _measured(columns: int, precision: str) -> float:
    """Return what the process says; 0 where it says nothing."""
    module = "spectrum_tui.core.scanning.libraries"
    command = [sys.executable, "-P", "-m", module, str(columns), precision]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command,
            env=own_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return _number(done.stdout) or 0.0
    return 0.0


def _number(text: str) -> float | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    sound = isinstance(found, float | int) and 0 <= found < 1000
    return float(found) if sound else None


def compare(columns: int, precision: str) -> float:
    """Return how many times as fast torch is, product and eigenvalues of one square matrix, by the
    best of `RUNS` runs of each in turn on one thread; 0 without MKL."""
    import torch

    if not torch._C.has_mkl or openblas.library() is None:
        return 0.0
    works = [work_of(name, (columns, columns), precision) for name in ("cpu", TORCH_ON_CPU)]
    best = [float("inf"), float("inf")]
    with one_thread_each():
        for work in works:
            work()  # touches the memory, and finds what is found at the first call
        for _ in range(RUNS):
            for i, work in enumerate(works):
                begin = thread_seconds()
                work()
                best[i] = min(best[i], thread_seconds() - begin)
    return best[0] / max(best[1], 1e-9)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(int(sys.argv[1]), sys.argv[2])))
