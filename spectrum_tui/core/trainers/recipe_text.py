"""A recipe as everybody reads it: its file, its text parsed once, and the names that each finds.

A trainer has PyYAML, or goes line by line without a parser. `freeze_except` reads names alone
and says in one line what else may be wrong with a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

from spectrum_tui.core.disk import read_bytes
from spectrum_tui.core.errors import RecipeError
from spectrum_tui.core.text import LONGEST_PATTERN

KEY = "unfrozen_parameters"
MOST_BYTES = 20_000_000
"""Of a file that is read: 50,000 lines of 400 characters."""
_HINT = f"A recipe is a YAML file with a list of parameter names under {KEY}."

# What PyYAML calls printable: it refuses a file for one other character, in a comment too.
_COMMENT = re.compile(r"[ \t]*(#[\t -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*)?")
_LIST = re.compile(r"([A-Za-z_]\w*):[ \t]*", re.ASCII)
_ITEM = re.compile(r"- ([A-Za-z_^(](?:[!-9;-~]|:(?=[!-~])| (?=[!\"$-~]))*)")
_NOT_TEXT = re.compile(r"(true|false|yes|no|on|off|null|y|n)", re.IGNORECASE)


class StopsError(Exception):
    """A trainer would end with an error rather than train; the text says why."""


def read_recipe(path: Path) -> str:
    """Return the text of a recipe's file, as it stands there.

    Raises OSError, also above `MOST_BYTES`; ValueError for what cannot be a path; and
    UnicodeDecodeError for what is not UTF-8.
    """
    return read_bytes(path, MOST_BYTES).decode("utf-8-sig")


class RecipeText:
    """The text of a file, parsed once for all trainers that parse it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        """The lines as Python splits them."""
        return self.text.removeprefix("\ufeff").splitlines()

    @cached_property
    def _lists(self) -> dict[str, list[str]] | None:
        return _simple(self.lines)

    @property
    def is_simple(self) -> bool:
        """Whether it is nothing but lists of plain text at column 0, and comments."""
        return self._lists is not None

    @cached_property
    def _made(self) -> Any:
        return self._lists if self._lists is not None else _with_yaml(self.text)

    @property
    def parsed(self) -> Any:
        """What PyYAML makes of it; raises StopsError."""
        if isinstance(self._made, StopsError):
            raise self._made
        return self._made

    @property
    def data(self) -> dict[Any, Any]:
        """The mapping that it is; raises StopsError where it is none."""
        if not isinstance(self.parsed, dict):
            raise StopsError("the file is not a mapping with keys")
        return self.parsed


def _simple(lines: list[str]) -> dict[str, list[str]] | None:
    """Return the mapping of a file that holds nothing but lists of plain text at column 0.

    None for any other. PyYAML needs 5 s for 50,000 names, this 0.1 s; libyaml, which is as fast,
    takes the whole process down where something is nested 100,000 times.
    """
    found: dict[str, list[str]] = {}
    items: list[str] | None = None
    for number, line in enumerate(lines):
        if len(line) > LONGEST_PATTERN:
            return None
        item = _ITEM.fullmatch(line)
        if item and items is not None:
            items.append(item[1])
        elif key := _LIST.fullmatch(line):
            if key[1] in found:
                return None
            items = found[key[1]] = []
        elif not (_COMMENT.fullmatch(line) or (line == "---" and not number)):
            return None
    names = (name for items in found.values() for name in (*items, ""))
    special = any(_NOT_TEXT.fullmatch(name) for name in names) or any(
        _NOT_TEXT.fullmatch(key) for key in found
    )
    empty = not found or not all(found.values())
    return None if special or empty else found


def _with_yaml(text: str) -> Any:
    """Return what PyYAML makes of the text, or the StopsError that it ends with."""
    import yaml

    if len(text) > MOST_YAML:
        return StopsError(f"the file holds {len(text):,} characters that are not a plain list")
    try:
        return yaml.load(text, Loader=_loader())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        return StopsError(f"the file is not YAML{where}")
    except RecursionError:
        return StopsError("the file is nested too deeply")
    except (ValueError, TypeError, OverflowError):  # dates that do not exist, unhashable keys
        return StopsError("the file holds a value that YAML cannot make")


MOST_YAML = 5_000_000
"""Characters for PyYAML, which takes 10 s for so many; a list of 100,000 names has as many."""
MOST_MERGED = 2_000_000
"""Keys that `<<` may copy: nine lines of nine merges each ask for 387 million."""
LONGEST_NUMBER = 1000
"""Characters of a number: to the base 60 it takes minutes from 100,000 on."""


@cache
def _loader() -> Any:
    """PyYAML's safe loader, which refuses the little that would keep it busy for ever."""
    import yaml

    class Loader(yaml.SafeLoader):
        merged = 0

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > MOST_MERGED:
                raise ValueError("too many merged keys")

        def construct_yaml_int(self, node: Any) -> Any:
            return super().construct_yaml_int(_short(node))

        def construct_yaml_float(self, node: Any) -> Any:
            return super().construct_yaml_float(_short(node))

    for kind in ("int", "float"):
        method = getattr(Loader, f"construct_yaml_{kind}")
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", method)
    return Loader


def _short(node: Any) -> Any:
    if len(node.value) > LONGEST_NUMBER:
        raise ValueError("too long a number")
    return node


def with_pyyaml(document: RecipeText) -> tuple[str, ...]:
    """Return the list under `unfrozen_parameters`; empty where there is none or it is empty."""
    return _texts(document.data.get(KEY))


def with_pyyaml_nested(document: RecipeText) -> tuple[str, ...]:
    """Return the list under `training.unfrozen_parameters`, or at the top, to be pasted there."""
    training = document.data.get("training")
    inside = training.get(KEY) if isinstance(training, dict) else None
    return _texts(inside if inside is not None else document.data.get(KEY))


def with_pyyaml_strictly(document: RecipeText) -> tuple[str, ...]:
    """`data["unfrozen_parameters"]`, which must be there and hold something to go through."""
    if KEY not in document.data:
        raise StopsError(f"there is no {KEY}")
    if document.data[KEY] is None:
        raise StopsError(f"{KEY} is empty")
    return _texts(document.data[KEY])


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise StopsError(f"{KEY} is not a list")
    if not all(isinstance(item, str) for item in value):
        raise StopsError(f"{KEY} holds something that is not text")
    return tuple(value)


def by_dash(document: RecipeText) -> tuple[str, ...]:
    """Return what follows the first "- " of every line that starts with it, spaces and quotes
    kept."""
    return tuple(line.split("- ")[1] for line in document.lines if line.startswith("- "))


def by_stripped_dash(document: RecipeText) -> tuple[str, ...]:
    """Return the same of lines without the spaces around them."""
    stripped = (line.strip() for line in document.lines)
    return tuple(line[2:].strip() for line in stripped if line.startswith("- "))


def names_in_file(path: Path) -> tuple[str, ...]:
    """Return the names in a recipe's file for `freeze_except`; raises RecipeError."""
    try:
        text = read_recipe(path)
    except UnicodeDecodeError:
        raise RecipeError(f"{path.name} is not a text file.", _HINT) from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise RecipeError(f"{path} cannot be read ({reason}).", "Check the path.") from None
    return names_in_text(text, path.name)


def names_in_text(text: str, file: str) -> tuple[str, ...]:
    """Return the names in a recipe's text, in its order and each once; raises RecipeError.

    The list may stand beside other keys, as in a trainer's configuration. `file` is what the
    file is called in errors.
    """
    try:
        data = RecipeText(text).parsed
    except StopsError as exc:
        raise RecipeError(f"{file}: {exc}.", _HINT) from None
    if not isinstance(data, Mapping) or KEY not in data:
        raise RecipeError(f"{file} has no {KEY}.", _hint_for(data))
    names = data[KEY]
    if not names:
        raise RecipeError(
            f"{KEY} of {file} is empty.",
            "It would train nothing; some trainers train the whole model with it.",
        )
    if not isinstance(names, list):
        raise RecipeError(f"{KEY} of {file} is not a list.", _HINT)
    for number, entry in enumerate(names, 1):
        if not isinstance(entry, str) or not entry.strip():
            what = short_repr(entry)[:60]
            raise RecipeError(f"Entry {number} of {file} is not a name: {what}.", _HINT)
        if len(entry) > LONGEST_PATTERN:
            raise RecipeError(
                f"Entry {number} of {file} has {len(entry):,} characters, too many for a name.",
                _HINT,
            )
    return tuple(dict.fromkeys(entry.strip() for entry in names))


def _hint_for(data: Any) -> str:
    """Return what the file looks like instead."""
    values = list(data.values()) if isinstance(data, Mapping) else []
    if values and all(isinstance(value, Mapping) for value in values):
        first = values[0]
        if "snr" in first or all(isinstance(value, float) for value in first.values()):
            return "It looks like a score file: make a recipe of it with spectrum-tui yaml."
    return _HINT
