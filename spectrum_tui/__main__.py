"""The command `spectrum-tui`, and `python -m spectrum_tui`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        from spectrum_tui.cli.main import run as run_command
    except KeyboardInterrupt:
        os._exit(130)
    run_command()


if __name__ == "__main__":
    # `-m` puts the current folder before everything: a numpy.py in it would run.
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109
        del sys.path[0]
    run()
