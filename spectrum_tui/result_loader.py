"""Reading saved scores off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from spectrum_tui.core.errors import ResultsError, SpectrumError, to_dict

if TYPE_CHECKING:
    from spectrum_tui.core.results import Result


@dataclass
class ResultLoaded(Message):
    """Saved scores were read, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    result: Result | None
    error: dict[str, str]


def load_result(path: Path, post: Callable[[Message], object]) -> None:
    """Read a file of scores and post a `ResultLoaded`, whatever happens."""
    # numpy's 0.1 s is paid here, on a thread, and not before the first frame.
    from spectrum_tui.core.store import load_result as load

    try:
        post(ResultLoaded(path, load(path), {}))
    except SpectrumError as exc:
        post(ResultLoaded(path, None, to_dict(exc)))
    except Exception as exc:
        error = ResultsError(f"Cannot read {path}: {type(exc).__name__}.", "Is it a score file?")
        post(ResultLoaded(path, None, to_dict(error)))
