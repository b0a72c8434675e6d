"""Reading and auditing a recipe off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from spectrum_tui.core.errors import InputError, SpectrumError, to_dict

if TYPE_CHECKING:
    from spectrum_tui.core.audit.audit import Audit
    from spectrum_tui.core.requests import ModelNames


@dataclass
class RecipeLoaded(Message):
    """A recipe was read and audited, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    text: str
    audit: Audit | None
    error: dict[str, str]


def load_recipe(path: Path, post: Callable[[Message], object]) -> None:
    """Read a recipe, audit its text, and post a `RecipeLoaded`, whatever happens."""
    from spectrum_tui.core.audit.entries import open_recipe

    try:
        text = open_recipe(path)
        post(RecipeLoaded(path, text, audited(text, None), {}))
    except SpectrumError as exc:
        post(RecipeLoaded(path, "", None, to_dict(exc)))


def audited(text: str, names: ModelNames | None) -> Audit:
    """The audit of a text; raises SpectrumError alone, whatever stands in it."""
    from spectrum_tui.core.audit.audit import audit

    try:
        return audit(text, names)
    except SpectrumError:
        raise
    except Exception as exc:
        raise InputError(
            f"The recipe cannot be judged: {type(exc).__name__}.", "Is it a list of names?"
        ) from exc
