"""A model of which only config.json is here: the shapes that its class would make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.folder import is_model_file
from spectrum_tui.core.checkpoint.headers import Checkpoint, Header, Tensor, read_config
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.experts import Shape
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.model.inspection import (
    Inspection,
    describe,
    inspect_model,
)
from spectrum_tui.core.model.named import display_name, local_folder, trimmed
from spectrum_tui.core.settings import DEMO

CONFIG = "config.json"
_BYTES = 2
"""Of a value in bf16, in which nothing is stored here."""


def inspect_shapes(model: str, patience: Patience | None = None) -> Inspection:
    """Describe a model of which sizes alone are wanted: also by a folder that holds nothing but
    config.json. Raises as `inspect_model` does."""
    typed = trimmed(model)
    folder = None if typed == DEMO else local_folder(typed)
    if folder is None or not has_config_alone(folder):
        return inspect_model(model, patience=patience)
    return describe(typed, "folder", checkpoint_from_config(folder), name=display_name(folder))


def has_config_alone(folder: Path) -> bool:
    """Return whether a folder holds config.json and no weights; False where it cannot be read."""
    try:
        names = disk.names_in(folder)
    except OSError:
        return False
    return CONFIG in names and not any(map(is_model_file, names))


def checkpoint_from_config(folder: Path) -> Checkpoint:
    """Return the checkpoint that a model of this config.json would be saved as, in bf16 and not
    quantised: names and shapes of transformers' own class, no bytes to read.

    Raises CheckpointError where transformers has no such class.
    """
    from spectrum_tui.core.naming.model_class import NoModelClassError, empty_model
    from spectrum_tui.core.naming.plain_decoders import known_shapes

    config = dict(read_config(folder) or {})
    config.pop("quantization_config", None)
    plain = Checkpoint.unread(folder, config, (CONFIG,), ())
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()
    try:
        shapes = known_shapes(config) or _shapes_of(empty_model(config))
    except NoModelClassError as exc:
        raise CheckpointError(
            f"{folder} holds config.json alone, and its shapes are not known: {exc}.",
            "Give a folder with the model's weights, or its id on the hub.",
            field="model",
        ) from exc
    header = Header(tensors=list(_tensors(shapes)), digest=digest)
    described = plain.with_headers([header], str(folder))
    return replace(described, fingerprint=described.fingerprint_of([CONFIG], [header]))


def _shapes_of(model: Any) -> dict[str, Shape]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _tensors(shapes: Mapping[str, Shape]) -> Iterator[Tensor]:
    start = 0
    for name, shape in shapes.items():
        end = start + prod(shape) * _BYTES
        yield Tensor(name=name, shape=shape, dtype="BF16", file=CONFIG, start=start, end=end)
        start = end
