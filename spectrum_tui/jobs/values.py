"""The options of a training job as they are given: command line, YAML, environment; unchecked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk
from spectrum_tui.core.errors import InputError

Values = dict[str, Any]
"""{name with underscores: what was given}. From a command line texts, or lists of them; from a file
what YAML makes of it."""

ARGUMENTS = "SPECTRUM_ARGS"
"""The environment variable with the YAML of a job, or with its path."""
CHANNEL = "SM_CHANNEL_CONFIG"
"""Where SageMaker puts the channel `config`."""


def given_values(arguments: Sequence[str]) -> Values:
    """Return what a command line says, and below it its YAML (`--config`, else the variable
    SPECTRUM_ARGS, else the channel `config`); raises InputError."""
    typed = from_command_line(arguments)
    place = typed.pop("config", None) or environment(ARGUMENTS, CHANNEL)
    return {**(from_yaml(str(place)) if place else {}), **typed}


def environment(*names: str) -> str:
    """Return the first of these variables that is set, "" where none is."""
    return next(filter(None, map(os.environ.get, names)), "")


def plain_name(name: str) -> str:
    """Return the one spelling of a name: hyperparameters come with dashes or underscores.

    >>> plain_name("--num-train-epochs")
    'num_train_epochs'
    """
    return name.removeprefix("--").replace("-", "_")


# -- the command line --------------------------------------------------------------------------


def from_command_line(arguments: Sequence[str]) -> Values:
    """Return `--name value`, `--name=value`, `--name a b` (a list) and `--name` (true) by name.

    Raises InputError for a value without a name.
    """
    values: Values = {}
    for name, parts in _named(arguments):
        values[name] = _value(parts)
    return values


def _named(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    name, parts = "", list[str]()
    for argument in arguments:
        if argument.startswith("--"):
            if name:
                yield name, parts
            head, equals, value = argument.partition("=")
            name, parts = plain_name(head), [value] if equals else []
        elif name:
            parts.append(argument)
        else:
            raise InputError(f"{argument} stands where an option should.", "Give --name value.")
    if name:
        yield name, parts


def _value(parts: list[str]) -> Any:
    """Return a list or object that was given as JSON, as SageMaker hands on nested values."""
    if len(parts) == 1 and parts[0][:1] in ("{", "["):
        try:
            return json.loads(parts[0])
        except ValueError:
            return parts[0]
    return parts if len(parts) > 1 else "".join(parts) if parts else "true"


# -- YAML --------------------------------------------------------------------------------------


def from_yaml(given: str) -> Values:
    """Return the options in a YAML file, in the only one of a folder, or in the text itself where
    it has lines; raises InputError. Names without a value are left out."""
    import yaml

    name, text = (ARGUMENTS, given) if "\n" in given else _read(given)
    try:
        values = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{name} cannot be read: {error}.", "Write one option a line.") from None
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is not a mapping of options to values.", "Write name: value.")
    return {plain_name(str(key)): value for key, value in values.items() if value is not None}


def _read(given: str) -> tuple[str, str]:
    """(path, text) of a file of options."""
    try:
        place = Path(os.path.expandvars(given)).expanduser()
        found = sorted(place.glob("*.y*ml")) if place.is_dir() else [place]
        if len(found) != 1:
            count = f"{len(found)} YAML files" if found else "no YAML file"
            raise InputError(f"{place} holds {count}.", "Name the file that is meant.")
        return str(found[0]), disk.read_text(found[0])
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{given} cannot be read: {error}.", "Name a YAML file.") from None
