"""The folders in a folder, and which of them hold a model: what completes a path that is typed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from spectrum_tui.core.checkpoint.folder import is_model_file
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.layer_types import natural_key
from spectrum_tui.core.text import has_controls

MOST_FOLDERS = 1_000
MOST_FILES = 500
"""Names that are looked at in a folder for weights among them; shards stand first or nowhere."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder by the path under which it was looked for."""

    path: str
    holds_model: bool


def split(typed: str) -> tuple[str, str]:
    """Return the folder that is typed, with its separator, and what its entries begin with."""
    at = max(typed.rfind(one) for one in {"/", os.sep}) + 1
    return typed[:at], typed[at:]


def folders_in(typed: str) -> tuple[Folder, ...]:
    """Return the folders in a folder as it is typed, "" for the current one, in natural order.

    None for what cannot be looked at. Those with invisible characters in their names are left out:
    no field takes them.
    """
    place = output_folder(typed)
    try:
        with os.scandir(place) as entries:
            every = islice(entries, MOST_FOLDERS)
            names = [one.name for one in every if one.is_dir() and not has_controls(one.name)]
    except (OSError, ValueError):
        return ()
    names.sort(key=lambda name: natural_key(name.lower()))
    return tuple(Folder(f"{typed}{name}", _holds_model(place / name)) for name in names)


def _holds_model(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(is_model_file(one.name) for one in islice(entries, MOST_FILES))
    except OSError:
        return False


def completing(typed: str, folders: tuple[Folder, ...]) -> tuple[Folder, ...]:
    """Return those that go on from what is typed, whatever its case: hidden ones where a dot is
    typed, and of the current folder those that hold a model, as a word may be a name on the hub."""
    place, start = split(typed)
    lower, hidden = typed.lower(), start.startswith(".")
    return tuple(
        one
        for one in folders
        if one.path.lower().startswith(lower)
        and (hidden or not split(one.path)[1].startswith("."))
        and (place or one.holds_model)
    )
