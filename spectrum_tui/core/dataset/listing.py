"""The data in a folder: what completes a path to texts that is typed."""

from __future__ import annotations

import os
from itertools import islice

from spectrum_tui.core import files
from spectrum_tui.core.dataset import formats
from spectrum_tui.core.dataset.builtin import BUILTINS
from spectrum_tui.core.layer_types import natural_key
from spectrum_tui.core.text import has_controls

MOST_ENTRIES = 2_000


def data_in(typed: str) -> tuple[str, ...]:
    """Return the folders in a folder as it is typed, "" for the current one, each with a separator,
    and the files that can be read, in natural order. None for what cannot be looked at; hidden ones
    are left out."""
    try:
        with os.scandir(files.output_folder(typed)) as entries:
            every = [one for one in islice(entries, MOST_ENTRIES) if _is_offered(one.name)]
            names = [
                f"{one.name}/" if one.is_dir() else one.name
                for one in every
                if one.is_dir() or formats.ending(one.name) in formats.READERS
            ]
    except (OSError, ValueError):
        return ()
    return tuple(f"{typed}{name}" for name in sorted(names, key=lambda n: natural_key(n.lower())))


def going_on(typed: str, paths: tuple[str, ...]) -> str | None:
    """Return the first that goes on from what is typed, a built-in text before all others."""
    return next((one for one in (*BUILTINS, *paths) if one.startswith(typed) and typed), None)


def _is_offered(name: str) -> bool:
    return not (name.startswith(".") or has_controls(name))
