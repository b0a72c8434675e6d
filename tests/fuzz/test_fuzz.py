"""Seeded cases in the suite, and every case that once failed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = ("--kept", "--cases", "85", "--seed", "suite")
"""Five of every kind of damage; `python -m tests.fuzz` runs as many as are asked for."""


def test_damaged_files_end_in_a_line_or_a_score() -> None:
    # A process of its own: it forks, which a process with the suite's threads must not.
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--jobs", "2", *CASES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert re.search(r"^\d+ cases, 0 failed", run.stdout, re.MULTILINE), run.stdout + run.stderr
    assert run.returncode == 0
