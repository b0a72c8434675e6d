"""A policy as one line of a recipe: the options that ask for it, to read and to read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import InputError, RecipeError
from spectrum_tui.core.files import is_file
from spectrum_tui.core.policy_values import LONGEST_NAME
from spectrum_tui.core.results.policy import Policy, settings_with
from spectrum_tui.core.settings import OPTIONS, POLICY_OPTIONS, Settings
from spectrum_tui.core.text import safe
from spectrum_tui.core.trainers.recipe_text import read_recipe

OPENING = "# policy: "
"""What such a line begins with."""
_LONGEST = 2**20
"""Characters of such a line."""
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"\\]|\\.)+""")
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
    """Return {setting: value} of the policy in a recipe that this program wrote, for a `.json` in
    the script beside it.

    Raises RecipeError for a file that cannot be read, has no such line, or one that says what no
    policy can.
    """
    script = path.with_suffix(".py")
    if path.suffix == ".json" and is_file(script):
        path = script  # JSON holds no comment: the script that an adapter comes with does
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
        words = iter(_words(text))
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


def _words(text: str) -> list[str]:
    """Return a line split as a shell does; raises ValueError for one that is not quoted rightly,
    InputError for words so long that no layer has such a name: shlex takes 10 s for 300 KB."""
    if len(text) > _LONGEST:
        raise InputError(f"The line has over {_LONGEST:,} characters.")
    if _WORD.sub("", text).strip():
        raise ValueError("a quote is not closed")
    for word in _WORD.findall(text):
        # A quote in a name takes five characters.
        if len(word) > 6 * LONGEST_NAME:
            raise InputError(f"A word in it has over {LONGEST_NAME:,} characters.")
    return shlex.split(text)


def _value(name: str, texts: list[str]) -> Any:
    option = OPTIONS[name]
    if option.takes == "nothing":
        return True
    return option.value(texts if option.takes == "each" else texts[-1])
