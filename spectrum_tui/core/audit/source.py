"""The file itself: read as text, or said in one line why it is no recipe."""

from __future__ import annotations

import json
from pathlib import Path

from spectrum_tui.core.disk import read_bytes
from spectrum_tui.core.errors import InputError

MOST_BYTES = 20_000_000
"""Of a file that is read: 50,000 lines of 400 characters."""
_FIELD = "recipe"


def read_recipe(path: Path) -> str:
    """The text of a recipe; raises InputError (field "recipe") for what is none."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(f"{path} is a folder.", "Give the YAML file in it.", field=_FIELD)
        if size > MOST_BYTES:
            raise InputError(
                f"{path} holds {size / 1e6:,.0f} MB, far more than a list of names.",
                "Give the YAML file with unfrozen_parameters.",
                field=_FIELD,
            )
        return _as_text(path, read_bytes(path, MOST_BYTES))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Check the path.", field=_FIELD) from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable path"
        raise InputError(f"Cannot read {path}: {reason}.", "", field=_FIELD) from None


def _as_text(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(
            f"{path} is not a text file.", "Give the YAML with unfrozen_parameters.", field=_FIELD
        )
    if not text.strip():
        raise InputError(f"{path} is empty.", "Write the recipe again.", field=_FIELD)
    if _is_json(text):
        raise InputError(
            f"{path} is JSON, not a recipe.",
            f"Scores open with spectrum-tui {path.name} and export as a recipe.",
            field=_FIELD,
        )
    return text


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
