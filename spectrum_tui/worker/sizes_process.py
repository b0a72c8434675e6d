"""The sizes of imported scores, found in a process of its own: `-m` this module, `FILE [MODEL]`,
prints the result as one line of JSON, or the error.

The app's own process must not load what the names of most architectures take: torch and
transformers, 5 s of imports that stall every key.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core.errors import ResultsError, SpectrumError, from_dict, to_dict
from spectrum_tui.worker.process import own_command, own_environment

if TYPE_CHECKING:
    from spectrum_tui.core.results.results import Result


def main(arguments: Sequence[str]) -> int:
    """Answer on stdout; returns the exit code."""
    from spectrum_tui.core.saved.sizes import load_sized
    from spectrum_tui.core.saved.store import details_text

    path, model = Path(arguments[0]), arguments[1]
    try:
        result = load_sized(path, model)
    except SpectrumError as exc:
        sys.stdout.write(json.dumps({"error": to_dict(exc)}))
        return 2
    sys.stdout.write(details_text(result) if result.scores.has_shapes else "{}")
    return 0


def ask(path: Path, model: str) -> Result | None:
    """The result with sizes as that process finds it; None where no model is at hand.

    Raises SpectrumError for a `model` that does not fit. Takes seconds: not for the event loop.
    """
    from spectrum_tui.core.saved.store import from_details_text

    run = subprocess.run(
        own_command("spectrum_tui.worker.sizes_process", str(path), model),
        env=own_environment(),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    text = run.stdout.rpartition("\n")[2]
    if text == "{}":
        return None
    try:
        answer = json.loads(text)
        if "error" in answer:
            raise from_dict(answer["error"])
        return from_details_text(text, path)
    except (ValueError, TypeError, KeyError):
        raise ResultsError(
            "The sizes of these scores could not be read.", "Try again.", field="model"
        ) from None


if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], ""]))
