"""What a place holds that is not one model of its own: models below it, or other formats."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.layer_types import natural_key

DEPTH = 3
"""Folders that are looked into below one that was given: as deep as a snapshot lies in a cache."""
MOST_ENTRIES = 5_000
"""Names that are looked at on the way; the folder may be a home folder on a network disk."""
SHOWN = 4
"""Models that a message names."""
PIPELINE_FILE = "model_index.json"
"""What marks a diffusers pipeline: its models lie below it."""

_NOT_THE_MODEL = ("consolidated", "adapter_", ".")
"""Files of these names hold the weights a second time under other names, only an adapter, or
what macOS keeps beside a file (`._model.safetensors`)."""

_WRONG_FORMATS = (
    (
        re.compile(r"adapter_config\.json$"),
        "holds a LoRA/PEFT adapter, not a model.",
        "Scan the base model, or merge the adapter into it first: spectrum-tui merge.",
    ),
    (
        re.compile(r"consolidated.*\.safetensors$"),
        "holds only consolidated weights, whose layers have other names.",
        "Use the Transformers version of this model (model.safetensors).",
    ),
    (
        re.compile(r".*\.gguf$"),
        "holds only GGUF weights, which are quantised and named differently.",
        "Scan the original safetensors repository of this model.",
    ),
    (
        re.compile(r".*\.distcp$"),
        "holds the pieces of a distributed checkpoint (.distcp).",
        "Join them first: accelerate merge-weights FOLDER OUTPUT.",
    ),
    (
        re.compile(r"zero_to_fp32\.py$"),
        "holds the pieces of a DeepSpeed checkpoint.",
        "Join them first: python zero_to_fp32.py . OUTPUT --safe_serialization.",
    ),
    (
        re.compile(r"(?!training_args|optimizer|scheduler|scaler|rng_state).*\.(bin|pt|pth)$"),
        "holds only PyTorch .bin weights.",
        "Save it as safetensors first: model.save_pretrained(folder).",
    ),
)
"""What a place without safetensors may hold instead, by the start of a file's name."""


def is_model_file(name: str) -> bool:
    """Return whether a file of this name, without folders, holds weights of the model itself."""
    return name.endswith(".safetensors") and not name.startswith(_NOT_THE_MODEL)


def no_weights(where: str, files: Iterable[str], *, is_folder: bool) -> CheckpointError:
    """Return the error for a place without weights of its own, by the paths of what lies there
    instead.

    `is_folder` for a folder on this machine: a model below it can be given as it is.
    """
    paths = sorted(files)
    here = [path for path in paths if "/" not in path]
    below = _models(paths)
    wrong = None if PIPELINE_FILE in here else _wrong_format(where, here)
    if wrong is None and below:
        return _pointed(where, below, is_pipeline=PIPELINE_FILE in here, is_folder=is_folder)
    wrong = wrong or _wrong_format(where, [path.rpartition("/")[2] for path in paths])
    return wrong or CheckpointError(
        f"{where} holds no weights (*.safetensors).",
        "Give the folder that has config.json and model.safetensors in it.",
        field="model",
    )


def _wrong_format(where: str, names: Sequence[str]) -> CheckpointError | None:
    for pattern, message, hint in _WRONG_FORMATS:
        if any(pattern.match(name) for name in names):
            return CheckpointError(f"{where} {message}", hint, field="model")
    return None


def _models(paths: Iterable[str]) -> list[str]:
    """Return the folders below that hold weights, in natural order: checkpoint-500 before -1000."""
    parts = (path.rpartition("/") for path in paths)
    found = {folder for folder, _, name in parts if folder and is_model_file(name)}
    return sorted(found, key=natural_key)


def _pointed(
    where: str, models: Sequence[str], *, is_pipeline: bool, is_folder: bool
) -> CheckpointError:
    what = "is a diffusers pipeline" if is_pipeline else "is not a model itself"
    # Of checkpoints the last is meant more often than the first.
    shown = models[-SHOWN:] if all("checkpoint-" in name for name in models) else models[:SHOWN]
    more = f" and {len(models) - len(shown)} more" if len(models) > len(shown) else ""
    one = len(models) == 1
    best = shown[-1] if "checkpoint-" in shown[-1] else shown[0]
    hint = f"Give {'it' if one else 'one of them'}: {Path(where) / best}"
    if not is_folder:
        hint = f"Download it (hf download {where} --local-dir FOLDER) and give FOLDER/{best}"
    return CheckpointError(
        f"{where} {what}; there {'is a model' if one else 'are models'} in "
        f"{', '.join(shown)}{more}.",
        hint,
        field="model",
    )


def files_below(folder: Path) -> list[str]:
    """Return the paths of safetensors files in folders below `folder`, as far as `DEPTH` and
    `MOST_ENTRIES` allow; what cannot be read is left out."""
    found: list[str] = []
    waiting = [(folder, "", 0)]
    left = MOST_ENTRIES
    while waiting and left > 0:
        place, prefix, depth = waiting.pop(0)
        files, folders = _entries(place, left)
        left -= len(files) + len(folders)
        if prefix:
            found += [prefix + name for name in files if is_model_file(name)]
        if depth < DEPTH:
            waiting += [(place / name, f"{prefix}{name}/", depth + 1) for name in folders]
    return found


def _entries(place: Path, most: int) -> tuple[list[str], list[str]]:
    """(files, folders) in a folder, those that are hidden left out."""
    files: list[str] = []
    folders: list[str] = []
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in islice(entries, most):
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append(entry.name)
    return files, folders
