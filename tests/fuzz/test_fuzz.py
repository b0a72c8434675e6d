"""A few hundred seeded cases in the suite, and every case that once failed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "cases", [("--kept", "--cases", "0"), ("--cases", "270", "--seed", "suite")]
)
def test_damaged_files_end_in_a_line_or_a_score(cases: tuple[str, ...]) -> None:
    # A process of its own: it forks, which a process with the suite's threads must not.
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--jobs", "2", *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert re.search(r"^\d+ cases, 0 failed", run.stdout, re.MULTILINE), run.stdout + run.stderr
    assert run.returncode == 0
