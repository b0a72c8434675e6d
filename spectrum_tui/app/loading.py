"""Reading saved scores and recipes off the event loop, and sizes for scores without them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from spectrum_tui.core.errors import InputError, ResultsError, SpectrumError, to_dict

if TYPE_CHECKING:
    from spectrum_tui.core.audit.audit import Audit
    from spectrum_tui.core.requests import ModelNames, Sized
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
    """The same scores with the sizes of a model."""

    path: Path
    result: Result


@dataclass
class RecipeLoaded(Message):
    """A recipe was read and audited, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    text: str
    audit: Audit | None
    error: dict[str, str]


def post_result(path: Path, post: Post) -> None:
    """Read a file of scores and post a `ResultLoaded`, whatever happens."""
    # numpy's 0.1 s is paid here, on a thread, and not before the first frame.
    from spectrum_tui.core.saved.store import load_result

    try:
        result = load_result(path)
    except SpectrumError as exc:
        post(ResultLoaded(path, None, to_dict(exc)))
        return
    except Exception as exc:
        error = ResultsError(f"Cannot read {path}: {type(exc).__name__}.", "Is it a score file?")
        post(ResultLoaded(path, None, to_dict(error)))
        return
    post(ResultLoaded(path, result, {}))


def post_sized(answer: Sized, post: Post) -> None:
    """Post a `ResultSized` of what the worker found, if it found any sizes."""
    from spectrum_tui.core.saved.store import from_details_text

    path = Path(answer.scores)
    if answer.details:
        with contextlib.suppress(ValueError):
            post(ResultSized(path, from_details_text(answer.details, path)))


def post_recipe(path: Path, post: Post) -> None:
    """Read a recipe, audit its text, and post a `RecipeLoaded`, whatever happens."""
    from spectrum_tui.core.audit.entries import open_recipe

    try:
        text = open_recipe(path)
        post(RecipeLoaded(path, text, audited(text, None), {}))
    except SpectrumError as exc:
        post(RecipeLoaded(path, "", None, to_dict(exc)))


def audited(text: str, names: ModelNames | None) -> Audit:
    """Return the audit of a text; raises SpectrumError alone, whatever stands in it."""
    from spectrum_tui.core.audit.audit import audit

    try:
        return audit(text, names)
    except SpectrumError:
        raise
    except Exception as exc:
        raise InputError(
            f"The recipe cannot be checked: {type(exc).__name__}.", "Is it a list of names?"
        ) from exc
