"""Texts that come with Python itself, for those who have none at hand: `builtin:pydoc`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from spectrum_tui.core.errors import DataError

PREFIX = "builtin:"
GENERAL = f"{PREFIX}pydoc"
"""The text that must not be forgotten, where nobody names another: prose, with some code."""


def texts(name: str) -> Iterator[str]:
    """Yield the documents of a built-in text; raises DataError where there is none of that
    name."""
    try:
        yield from _TEXTS[name.removeprefix(PREFIX)]()
    except (ImportError, OSError, ValueError):
        raise DataError(
            f"This Python comes without the text {name}.", "Name a file.", field="data"
        ) from None
    except KeyError:
        raise DataError(
            f"There is no text {name}.",
            f"There is {' and '.join(PREFIX + one for one in _TEXTS)}.",
            field="data",
        ) from None


def _pydoc() -> Iterator[str]:
    """Yield the 80 chapters of Python's reference that `help` shows: 465,000 characters."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    yield from topics.values()


def _stdlib() -> Iterator[str]:
    """Yield the modules of the standard library that are in no package: 170 files, 4.7 MB."""
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        yield path.read_text(encoding="utf-8")


_TEXTS: dict[str, Callable[[], Iterator[str]]] = {"pydoc": _pydoc, "stdlib": _stdlib}
BUILTINS = tuple(f"{PREFIX}{name}" for name in _TEXTS)
"""What is typed for each."""
