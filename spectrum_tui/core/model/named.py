"""What a user typed for a model, read as a folder; and what a folder is called."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from spectrum_tui.core.checkpoint.mounts import out_of_reach, patiently
from spectrum_tui.core.errors import CheckpointError

OWNED = "org/name, as in Qwen/Qwen3-0.6B"
"""What an id on the hub looks like."""


def trimmed(typed: str) -> str:
    """Return what was typed, without the spaces around it unless there is a folder of just that
    name."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if Path(typed).expanduser().is_dir():
            return typed
    return typed.strip()


def local_folder(model: str) -> Path | None:
    """Return the folder that was meant, None for a hub id; raises for a path that leads nowhere."""
    if not model:
        raise CheckpointError(
            "No model is given.", "Give a folder or a model id like org/name.", field="model"
        )
    path = Path(model)
    try:
        path = path.expanduser()
        if patiently(partial(_is_folder, path)):
            return path
        if path.is_file():
            raise CheckpointError(
                f"{model} is a file.", "Give the folder that it is in.", field="model"
            )
    except (OSError, ValueError, RuntimeError):
        raise CheckpointError(
            f"{model!r} is not a usable path.", "Give a folder or a model id.", field="model"
        ) from None
    if path.is_absolute() or model.startswith((".", "~")):
        raise CheckpointError(
            f"There is no folder {model}.", "Check the path for a typing error.", field="model"
        )
    return None


def _is_folder(path: Path) -> bool:
    """Return whether a folder is there; raises OSError, and OutOfReachError where its mount is
    away."""
    try:
        return path.is_dir()
    except OSError as exc:
        if error := out_of_reach(path, exc):
            raise error from None
        raise


def display_name(folder: Path) -> str:
    """Return what a local model is called in files and on the screen: never its whole path.

    A snapshot in the hub's cache is called by its id, `models--org--name` being `org/name`.
    """
    path = folder.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return path.name or "model"
