"""The score files that a training writes beside each other, one for each step that is scored, and
what it says of its adapters there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core import disk, json_text
from spectrum_tui.core.files import OutputFiles, slug
from spectrum_tui.core.text import safe

if TYPE_CHECKING:  # numpy comes with it, which the app's first frame does without
    from spectrum_tui.core.results.results import Result

ADAPTER_LINES = "spectrum_adapters.jsonl"
"""The file in a trainer's `output_dir` that gets a line each time that `SpectrumAdapters` has
changed adapters, or has looked whether to."""
_NAME = re.compile(r"(.*)-step-(\d{1,12})\.json", re.DOTALL | re.ASCII)


def step_file(result: Result, folder: Path, step: int) -> Path:
    """Return what the score file of a step is called."""
    model = slug(result.provenance.model)
    return folder / f"{OutputFiles(folder, model, result.scores.metric).stem}-step-{step}.json"


def adapter_moves(folder: Path) -> dict[int, str]:
    """{step: what became of the adapters there}, as `SpectrumAdapters` has written it; lines of
    another shape are passed over, and {} is returned where there is no such file."""
    try:
        lines = disk.read_text(folder / ADAPTER_LINES).splitlines()
    except (OSError, ValueError):
        return {}
    found: dict[int, str] = {}
    for line in lines:
        try:
            data = json_text.load(line)
            step, moves = data["step"], data["moves"]
        except (json_text.NotJSONError, *json_text.WRONG_SHAPE):
            continue
        if isinstance(step, int) and isinstance(moves, str):
            before = f"{found[step]}; " if step in found else ""
            found[step] = before + safe(moves)
    return found


def moves_at(path: Path) -> str:
    """Return what became of the adapters at the step of a score file; "" where nothing is known."""
    step = step_of(path)
    return "" if step is None else adapter_moves(path.parent).get(step, "")


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, file) of `RescoreCallback`'s score files in a folder, by step; those of the
    model that has most of them. A step is there once, by its shortest name (`-step-5`, not
    `-step-05`). None where the folder cannot be read."""
    series: dict[str, dict[int, Path]] = {}
    for name in sorted(_names(folder), key=lambda name: (len(name), name)):
        if match := _NAME.fullmatch(name):
            series.setdefault(match[1], {}).setdefault(int(match[2]), folder / name)
    longest = max(series.values(), key=len, default={})
    return sorted(longest.items())


def step_of(path: Path) -> int | None:
    """Return the step that the name of a score file tells, None where it tells none."""
    match = _NAME.fullmatch(path.name)
    return int(match[2]) if match else None


def is_of_a_run(path: Path) -> bool:
    """Return whether a score file is one of several of a training run."""
    files = step_files(path.parent) if step_of(path) is not None else []
    return len(files) > 1 and path in (file for _, file in files)


def is_training_run(folder: Path) -> bool:
    """Return whether a folder holds score files of several steps, and no model: the trainer may
    have saved the one that it trained there."""
    return not holds_model(folder) and len(step_files(folder)) > 1


def holds_model(folder: Path) -> bool:
    """Return whether a folder holds a model, which goes before anything else in it."""
    names = _names(folder)
    return any(name == "config.json" or name.endswith(".safetensors") for name in names)


def _names(folder: Path) -> list[str]:
    try:
        return disk.names_in(folder)
    except (OSError, ValueError):
        return []
