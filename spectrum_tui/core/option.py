"""What is known of an option: how it is typed, checked and shown, and what it changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from spectrum_tui.core.errors import InputError

Change = Literal["model", "names", "scores", "speed", "output"]
"""What depends on an option first: which files are read, what their parameters are called, scores,
how long these take, or what is written of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What the command line and the setup screen know of a setting.

    `only` is the command that has the option where the app and `scan` do not both. One that is
    `kept` may stand in the user's config.toml, under its flag without dashes. It `takes` one value,
    several, one at each mention, or nothing. `check` makes a value of what is typed, or raises
    InputError, and `write` the other way; `unset` stands for 0 and "". `label`, `note` and
    `placeholder` are its field's on the setup screen.
    """

    flag: str
    default: Any
    help: str
    changes: Change
    only: Literal["", "app", "scan"] = ""
    kept: bool = False
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    takes: Literal["one", "several", "each", "nothing"] = "one"
    check: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] = str
    unset: str = ""
    label: str = ""
    note: str = ""
    placeholder: str = ""

    def value(self, typed: Any) -> Any:
        """Return the value that is typed; raises InputError."""
        return (self.check or type(self.default))(typed)

    def text(self, value: Any) -> Any:
        """Return a value as it is typed; several texts where it takes one at each mention."""
        return self.write(value) if value or not self.unset else self.unset


def setting(**about: Any) -> Any:
    """Return the field of a setting: its default, and the option that says the rest."""
    option = Option(**about)
    return field(default=option.default, metadata={"option": option})


def number(text: str) -> float:
    """Return a number as it is typed, NaN for anything else, other digits than 0 to 9 among it."""
    try:
        return float(text) if text.isascii() else math.nan
    except ValueError:
        return math.nan


def whole_number(text: str, low: int, high: int, field: str, what: str, allowed: str) -> int:
    """Return a whole number from `low` to `high`; raises InputError with that field, which says
    `what` it is and which are `allowed`."""
    try:
        value = int(text) if text.isascii() else low - 1
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(
            f"{what} {text.strip()!r} is not usable.",
            f"Give a whole number, {allowed}.",
            field=field,
        )
    return value
