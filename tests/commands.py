"""The command line as tests call it: in this process, or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spectrum_tui.cli.main import main

Capture = pytest.CaptureFixture[str]
FLAT = "model_snr_results/snr_results_{}.json"
RECIPE = "snr_results_{}_unfrozenparameters_{}percent.yaml"


def process(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "spectrum_tui"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def refused(capsys: Capture, *arguments: str) -> str:
    """The one line on stderr of a command that must end with 2 and write nothing."""
    before = sorted(Path.cwd().rglob("*"))
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(Path.cwd().rglob("*")) == before
    lines = [line for line in err.splitlines() if line.startswith("spectrum-tui: ")]
    assert len(lines) == 1
    assert err.splitlines()[-1] == lines[0]
    assert "Traceback" not in err
    return lines[0]
