"""Reading saved scores off the event loop, and the sizes of those that came without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from spectrum_tui.core.errors import ResultsError, SpectrumError, to_dict

if TYPE_CHECKING:
    from spectrum_tui.core.results.results import Result

Post = Callable[[Message], object]


@dataclass
class ResultLoaded(Message):
    """Saved scores were read, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    result: Result | None
    error: dict[str, str]


@dataclass
class ResultSized(Message):
    """The same scores with the sizes of a model, or why that model has none for them."""

    path: Path
    result: Result | None
    error: dict[str, str]


def load_result(path: Path, post: Post, sizes_from: str = "") -> None:
    """Read a file of scores and post a `ResultLoaded`, whatever happens; then, where it needs
    sizes and there are any, a `ResultSized`."""
    # numpy's 0.1 s is paid here, on a thread, and not before the first frame.
    from spectrum_tui.core.saved.store import load_result as load

    try:
        result = load(path)
    except SpectrumError as exc:
        post(ResultLoaded(path, None, to_dict(exc)))
        return
    except Exception as exc:
        error = ResultsError(f"Cannot read {path}: {type(exc).__name__}.", "Is it a score file?")
        post(ResultLoaded(path, None, to_dict(error)))
        return
    post(ResultLoaded(path, result, {}))
    if sizes_from or not result.scores.has_shapes:
        _find_sizes(path, post, sizes_from)


def _find_sizes(path: Path, post: Post, sizes_from: str) -> None:
    from spectrum_tui.worker.sizes_process import ask

    try:
        result = ask(path, sizes_from)
    except (SpectrumError, OSError) as exc:
        if sizes_from:
            said = exc if isinstance(exc, SpectrumError) else ResultsError(str(exc), "Try again.")
            post(ResultSized(path, None, to_dict(said)))
        return
    if result is not None:
        post(ResultSized(path, result, {}))
