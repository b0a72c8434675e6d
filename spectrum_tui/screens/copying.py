"""Putting a text on the clipboard of the terminal, wherever that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import SelectionError

CLIPBOARD_LIMIT = 75_000
"""Bytes that terminals take by OSC 52 for certain; some cut what is longer."""


def copy_yaml(screen: Screen[Any], make: Callable[[], str]) -> None:
    """Copy what `make` gives, and say so; where it raises SelectionError, that is said."""
    try:
        text = make()
    except SelectionError as error:
        screen.notify(str(error), title=error.title, severity="error", markup=False)
        return
    screen.app.copy_to_clipboard(text)
    lines, nbytes = text.count("\n"), len(text.encode())
    said, title = f"{lines:,} lines, {numbers.size(nbytes)}.", "Copied the YAML"
    if nbytes <= CLIPBOARD_LIMIT:
        screen.notify(said, title=title, markup=False)
        return
    said += " Some terminals cut a copy this long: press w to save a file instead."
    screen.notify(said, title=title, severity="warning", markup=False)
