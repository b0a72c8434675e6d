"""The lines of a recipe: what stands in the list, where and how, and which name each means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.experts import parent_is_experts
from spectrum_tui.core.text import LONGEST_PATTERN
from spectrum_tui.core.trainers.patterns import ANY_CHAR, at_start, axolotl_rows
from spectrum_tui.core.trainers.recipe_text import (
    KEY,
    MOST_BYTES,
    RecipeText,
    StopsError,
    read_recipe,
)

_FIELD = "recipe"
_KEY_LINE = re.compile(rf"\s*['\"]?{KEY}['\"]?\s*:")


_LEAVES = re.compile(
    r"(?:^|_)(?:weight|bias|sinks|A_log|D|dt_bias|position_embeddings?|positional_embedding|"
    r"class_embedding|pos_embed|gamma|beta|x_prev|inv_freq|masked_spec_embed|temperature)$"
)
_LEAF_ENDS = ("_token", "scale", "lambda", "embedding_table", "embeddings_table")
_MODULES = re.compile(
    r"(?:^|_)(?:gate|fc\d|lm_head|wte|wpe|c_attn|c_fc|query_key_value|qkv|wq|wk|wv|wo|w[123]|"
    r"router|embed_in|embed_out|shared_experts?|query|key|value|out|mlp|self_attn|attn|\d+|layers?)$"
)
_MODULE_ENDS = ("proj", "embed_tokens")
_MODULE_WORDS = ("_dense", "_linear", "_in_proj")
_DIGITS = "0123456789"


CLASS_AS_ROWS = re.compile(r"\[\d{2,}\]$")
"""A choice of digits, that axolotl takes for a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeEntry:
    """One item of the list: its line (from 1), its text as YAML reads it, and how it stands there.

    `indent` counts the spaces before the dash, `gap` those after it.
    """

    line: int
    pattern: str
    indent: int = 0
    gap: int = 1
    quoted: bool = False
    flow: bool = False
    comment: bool = False
    trailing: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe's entries, whatever else its file says, and lines that are another list's.

    `path` is where the list stands ("training" for `training.unfrozen_parameters`), `line` that
    of its key. `long` are entries of more than `LONGEST_PATTERN` characters.
    """

    document: RecipeText
    entries: tuple[RecipeEntry, ...]
    data: dict[str, Any]
    path: str
    line: int
    strays: tuple[tuple[int, str], ...]
    long: tuple[RecipeEntry, ...] = ()

    @property
    def lines(self) -> int:
        """How many items the list has."""
        return len(self.entries) + len(self.long)


def open_recipe(path: Path) -> str:
    """Return the text of a recipe's file; raises InputError (field "recipe") if it cannot be
    one."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path} holds {size / 1e6:,.0f} MB, far more than a list of names.",
                f"Give the YAML file with {KEY}.",
                field=_FIELD,
            )
        text = read_recipe(path)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Check the path.", field=_FIELD) from None
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder.", "Give the YAML file in it.", field=_FIELD
        ) from None
    except UnicodeDecodeError:
        text = "\0"
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable path"
        raise InputError(f"Cannot read {path}: {reason}.", "", field=_FIELD) from None
    _check_text(path, text)
    return text


def _check_text(path: Path, text: str) -> None:
    if "\0" in text:
        raise InputError(f"{path} is not a text file.", f"Give the YAML with {KEY}.", field=_FIELD)
    if not text.strip():
        raise InputError(f"{path} is empty.", "Write the recipe again.", field=_FIELD)
    if _is_json(text):
        raise InputError(
            f"{path} is JSON, not a recipe.",
            f"Open scores with spectrum-tui {path.name}, and save a recipe there.",
            field=_FIELD,
        )


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def parse(text: str) -> Recipe:
    """Return the recipe in a text; raises InputError (field "recipe") where there is none."""
    document = RecipeText(text)
    data = _data(document)
    place, items, line = _find(text, document, data)
    own = {entry.line for entry in items}
    strays = tuple(
        (number, content[2:])
        for number, content in enumerate(document.lines, 1)
        if content.startswith("- ") and number not in own and _may_be_name(content)
    )
    usual = tuple(item for item in items if len(item.pattern) <= LONGEST_PATTERN)
    long = tuple(item for item in items if len(item.pattern) > LONGEST_PATTERN)
    return Recipe(
        document=document, entries=usual, data=data, path=place, line=line, strays=strays, long=long
    )


def _may_be_name(line: str) -> bool:
    """Return whether an item of another list could match a parameter's name: `- path: x` cannot."""
    if len(line) > LONGEST_PATTERN:
        return False
    return " " not in line[2:].strip() and not line.rstrip().endswith(":")


def _data(document: RecipeText) -> dict[str, Any]:
    try:
        data = document.data
    except StopsError as exc:
        raise InputError(
            f"This is not a recipe: {exc}.", f"It must hold a list called {KEY}.", field=_FIELD
        ) from None
    return {str(key): value for key, value in data.items()}


def _find(
    text: str, document: RecipeText, data: dict[str, Any]
) -> tuple[str, list[RecipeEntry], int]:
    training = data.get("training")
    nested = isinstance(training, dict) and KEY in training and KEY not in data
    if not nested and KEY not in data:
        raise InputError(f"The file has no {KEY}.", "Give a recipe for Spectrum.", field=_FIELD)
    value = training[KEY] if nested and isinstance(training, dict) else data[KEY]
    if value is not None and not _is_list_of_text(value):
        raise InputError(
            f"{KEY} is not a list of names.", "Write one name per line, after a dash.", field=_FIELD
        )
    path = "training" if nested else ""
    if document.is_simple and not nested:
        return path, list(_plain(document)), _key_line(document)
    items, line = list(_composed(text, document, path)), _key_line(document)
    if [item.pattern for item in items] != (value or []):  # the key came with << from elsewhere
        items = [RecipeEntry(line=line, pattern=str(name)) for name in value or []]
    return path, items, line


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _key_line(document: RecipeText) -> int:
    lines = enumerate(document.lines, 1)
    return next((n for n, line in lines if _KEY_LINE.match(line[:LONGEST_PATTERN])), 0)


def _plain(document: RecipeText) -> Iterator[RecipeEntry]:
    inside = False
    for number, line in enumerate(document.lines, 1):
        if line.startswith("- "):
            if inside:
                yield RecipeEntry(line=number, pattern=line[2:])
        elif line[:1] not in ("", " ", "\t", "#"):
            inside = line.startswith(f"{KEY}:")


def _composed(text: str, document: RecipeText, path: str) -> Iterator[RecipeEntry]:
    """Yield the items with the places that YAML's own parser gives them."""
    import yaml

    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in filter(None, (path, KEY)):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [value for key, value in pairs if key.value == name]
        node = found[-1] if found else None  # of a key that stands twice, the last holds
    if not isinstance(node, yaml.SequenceNode):
        return
    for item in node.value:
        yield _entry(item, document.lines, flow=bool(node.flow_style))


def _entry(item: Any, lines: list[str], *, flow: bool) -> RecipeEntry:
    number = item.start_mark.line
    line = lines[number] if number < len(lines) else ""
    if flow:
        return RecipeEntry(line=number + 1, pattern=item.value, flow=True, quoted=bool(item.style))
    before = line[: item.start_mark.column]
    dash = before.rfind("-")
    one_line = item.end_mark.line == number
    rest = line[item.end_mark.column :] if one_line else ""
    return RecipeEntry(
        line=number + 1,
        pattern=item.value,
        indent=dash if dash >= 0 else 0,
        gap=len(before) - dash - 1,
        quoted=bool(item.style),
        comment="#" in rest,
        trailing=bool(rest) and not rest.strip(),
    )


@lru_cache(maxsize=100_000)
def plain_name(pattern: str) -> str:
    """Return the parameter or module that a pattern names; "" for a true regular expression.

    >>> plain_name(r"^model\\.norm\\.weight$"), plain_name("model.layers.(1|2).mlp")
    ('model.norm.weight', '')
    """
    try:
        name, _ = axolotl_rows(pattern)
    except ValueError:
        name = pattern.rpartition("[")[0]
    form = at_start(name)
    return "" if form.regex else form.literal.replace(ANY_CHAR, ".").rstrip(".")


def has_rows(pattern: str) -> bool:
    """Return whether axolotl would train some rows of the parameter alone."""
    try:
        return axolotl_rows(pattern)[1] is not None and not CLASS_AS_ROWS.search(pattern)
    except ValueError:
        return False


def is_module(name: str) -> bool:
    """Return whether a name is that of a module rather than of a parameter, by its last part."""
    last = name.rpartition(".")[2]
    if parent_is_experts(name) or _is_leaf(last):
        return False
    last = last.lower()
    return (
        "norm" in last
        or last.rstrip(_DIGITS).endswith(_MODULE_ENDS)
        or any(word in f"_{last}" for word in _MODULE_WORDS)
        or bool(_MODULES.search(last))
    )


def _is_leaf(last: str) -> bool:
    """Return whether parameters, and no modules, end in this part of a name."""
    return last.rstrip(_DIGITS).endswith(_LEAF_ENDS) or bool(_LEAVES.search(last))
