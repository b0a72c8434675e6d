"""The score files that a training writes beside each other, one for each step that is scored."""

from __future__ import annotations

import re
from pathlib import Path

from spectrum_tui.core import disk

_NAME = re.compile(r"(.*)-step-(\d{1,12})\.json", re.DOTALL | re.ASCII)


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, file) of `RescoreCallback`'s score files in a folder, by step; those of the
    model that has most of them. None where the folder cannot be read."""
    series: dict[str, list[tuple[int, Path]]] = {}
    for name in sorted(_names(folder)):
        if match := _NAME.fullmatch(name):
            series.setdefault(match[1], []).append((int(match[2]), folder / name))
    longest = max(series.values(), key=len, default=[])
    return sorted(longest)


def is_training_run(folder: Path) -> bool:
    """Return whether a folder holds score files of several steps, and no model: the trainer may
    have saved the one that it trained there."""
    names = _names(folder)
    if any(name == "config.json" or name.endswith(".safetensors") for name in names):
        return False
    return len(step_files(folder)) > 1


def _names(folder: Path) -> list[str]:
    try:
        return disk.names_in(folder)
    except (OSError, ValueError):
        return []
