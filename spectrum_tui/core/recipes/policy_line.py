"""A policy as one line of a recipe: the options that ask for it, to read and to read back."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import InputError, RecipeError
from spectrum_tui.core.results.policy import Policy, settings_with
from spectrum_tui.core.settings import OPTIONS, POLICY_OPTIONS, Settings
from spectrum_tui.core.text import safe
from spectrum_tui.core.trainers.recipe_text import read_recipe

OPENING = "# policy: "
"""What such a line begins with."""
_FLAGS = {OPTIONS[name].flag: name for name in POLICY_OPTIONS}


def policy_line(policy: Policy, metric: str) -> str:
    """Return the comment: `# policy: --top-percent 25 --metric spectrum`."""
    return OPENING + safe(shlex.join(_options(settings_with(Settings(metric=metric), policy))), " ")


def _options(settings: Settings) -> Iterator[str]:
    """Yield what is other than the default, and the percentage unless a budget replaces it."""
    for name in POLICY_OPTIONS:
        option, value = OPTIONS[name], getattr(settings, name)
        plain = name == "top_percent" and settings.budget is None
        if value == option.default and not plain:
            continue
        if option.takes == "nothing":
            yield option.flag
        elif option.takes == "each":
            for text in option.text(value):
                yield from (option.flag, text)
        else:
            yield from (option.flag, option.text(value))


def policy_text(lines: Iterable[str]) -> str | None:
    """Return the options in the policy of a recipe's lines; None where it has none."""
    return next((line[len(OPENING) :] for line in lines if line.startswith(OPENING)), None)


def read_policy(path: Path) -> dict[str, Any]:
    """Return {setting: value} of the policy in a recipe that this program wrote.

    Raises RecipeError for a file that cannot be read, has no such line, or one that says what no
    policy can.
    """
    try:
        lines = read_recipe(path).splitlines()
    except UnicodeDecodeError:
        lines = []
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise RecipeError(f"{safe(str(path))} cannot be read: {safe(reason)}.", "") from exc
    text = policy_text(lines)
    if text is None:
        raise RecipeError(
            f"{safe(str(path))} holds no policy.",
            f"Give a recipe that spectrum-tui wrote: it has a line that begins with '{OPENING}'.",
            field="policy",
        )
    return _parsed(text, path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """Return {setting: value} of options as they are typed; raises RecipeError."""
    found: dict[str, list[str]] = {}
    try:
        words = iter(shlex.split(text))
        for flag in words:
            name = _FLAGS[flag]
            takes = OPTIONS[name].takes
            found.setdefault(name, []).append("" if takes == "nothing" else next(words))
        return {name: _value(name, texts) for name, texts in found.items()}
    except (ValueError, KeyError, StopIteration, InputError) as exc:
        raise RecipeError(
            f"The policy in {safe(str(path))} cannot be read: {safe(text)[:60].strip()}.",
            str(exc) if isinstance(exc, InputError) else "Write the recipe anew.",
            field="policy",
        ) from exc


def _value(name: str, texts: list[str]) -> Any:
    option = OPTIONS[name]
    if option.takes == "nothing":
        return True
    return option.value(texts if option.takes == "each" else texts[-1])
