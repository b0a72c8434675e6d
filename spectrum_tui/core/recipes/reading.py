"""Reading a recipe back: the names under `unfrozen_parameters`, whoever wrote the file.

Read as YAML, which is what the file is; what else may be wrong with it is said in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

from spectrum_tui.core.disk import read_text
from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.text import LONGEST_PATTERN

KEY = "unfrozen_parameters"
MOST_BYTES = 20_000_000
"""Of a file that is read: 50,000 lines of 400 characters."""
_HINT = f"A recipe is a YAML file with a list of parameter names under {KEY}."


def read_recipe(path: Path) -> tuple[str, ...]:
    """The names in a recipe, in its order, each once; raises RecipeError.

    The list may stand beside other keys, as in a trainer's configuration.
    """
    return names_in(_text(path), path.name)


def names_in(text: str, name: str) -> tuple[str, ...]:
    """The names in the text of a recipe; `name` is what the file is called in errors."""
    data = _parsed(text, name)
    if not isinstance(data, Mapping) or KEY not in data:
        raise RecipeError(f"{name} has no {KEY}.", _hint_for(data))
    names = data[KEY]
    if not names:
        raise RecipeError(
            f"{KEY} of {name} is empty.",
            "It would train nothing; some trainers train the whole model by it.",
        )
    if not isinstance(names, list):
        raise RecipeError(f"{KEY} of {name} is not a list.", _HINT)
    for number, entry in enumerate(names, 1):
        if not isinstance(entry, str) or not entry.strip():
            what = short_repr(entry)[:60]
            raise RecipeError(f"Entry {number} of {name} is not a name: {what}.", _HINT)
        if len(entry) > LONGEST_PATTERN:
            raise RecipeError(
                f"Entry {number} of {name} has {len(entry):,} characters, too many for a name.",
                _HINT,
            )
    return tuple(dict.fromkeys(entry.strip() for entry in names))


def _text(path: Path) -> str:
    try:
        return read_text(path, MOST_BYTES)
    except UnicodeDecodeError:
        raise RecipeError(f"{path.name} is not a text file.", _HINT) from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise RecipeError(f"{path} cannot be read ({reason}).", "Check the path.") from None


def _parsed(text: str, name: str) -> Any:
    from spectrum_tui.core.trainers.recipe_text import RecipeText, StopsError

    try:
        return RecipeText(text).parsed
    except StopsError as exc:
        raise RecipeError(f"{name}: {exc}.", _HINT) from None


def _hint_for(data: Any) -> str:
    """What the file looks like instead."""
    values = list(data.values()) if isinstance(data, Mapping) else []
    if values and all(isinstance(value, Mapping) for value in values):
        first = values[0]
        if "snr" in first or all(isinstance(value, float) for value in first.values()):
            return "It looks like a score file: make a recipe of it with spectrum-tui yaml."
    return _HINT
