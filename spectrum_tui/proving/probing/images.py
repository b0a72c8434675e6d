"""Batches of images, each of a class, as the model's own processor makes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core import disk
from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.errors import DataError, InputError, reason_of
from spectrum_tui.core.naming.model_class import first_line
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.core.text import safe
from spectrum_tui.proving.batches import in_batches
from spectrum_tui.proving.loading import load_part
from spectrum_tui.proving.probing.inputs import Data, Inputs, Made, fewer, own_loss, some_of
from spectrum_tui.proving.probing.measuring import Batch

_PATCH = 16
"""Pixels of a side of what a place of the blocks sees, where the configuration does not say."""


def of_images(data: Data, model: Any) -> Inputs:
    """Return batches of images; raises DataError, InputError and CheckpointError."""
    numbers = _numbers(model.config, sorted({one.label for one in data.examples}))
    processor = _processor(data.conditions)
    chosen = some_of(data.examples, data.job.batches * data.job.batch)

    def made(group: Sequence[Example]) -> Batch:
        pictures = [_picture(Path(one.file)) for one in group]
        pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
        labels = torch.tensor([numbers[one.label] for one in group], device=data.device)
        return {"pixel_values": pixels.to(data.device, data.dtype), "labels": labels}

    batches = Made(list(in_batches(chosen, data.job.batch)), made)
    return Inputs(
        batches=batches,
        loss=own_loss,
        amount=len(chosen),
        unit="images",
        tokens=_places(model.config, batches[0]["pixel_values"]),
        notes=fewer(len(batches), data.job.batches),
    )


def _places(config: Any, pixels: torch.Tensor) -> int:
    patch = getattr(config, "patch_size", _PATCH)
    side = patch if isinstance(patch, int) and patch > 0 else _PATCH
    return int(pixels[:, 0].numel() / side**2) + len(pixels)


def _numbers(config: Any, labels: Sequence[str]) -> dict[str, int]:
    """Return the number of each class: that of its name in the model, or, where the model has as
    many without names, its place in the order of names. Raises DataError."""
    known = {str(name): int(number) for number, name in config.id2label.items()}
    if all(label in known for label in labels):
        return known
    if all(name.startswith("LABEL_") for name in known) and len(labels) == len(known):
        return {label: number for number, label in enumerate(labels)}
    strange = next(label for label in labels if label not in known)
    some = ", ".join(sorted(known)[:5])
    raise DataError(
        f"The model knows no class {safe(strange)}.",
        f"Name the folders as its {len(known):,} classes: {safe(some)}"
        f"{', …' if len(known) > 5 else ''}.",
        field="data",
    )


def _processor(conditions: Conditions) -> Any:
    if find_spec("PIL") is None:
        raise InputError(
            "Images need the package pillow.", "Install it with: pip install pillow.", field="data"
        )
    hint = "Put its preprocessor_config.json beside the weights."
    return load_part(conditions, "AutoImageProcessor", "image processor", hint)


def _picture(path: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(disk.read_regular(path))) as image:
            return image.convert("RGB")
    except OSError as exc:
        why = reason_of(exc) if exc.errno else "it is no image, or a damaged one"
    except Exception as exc:  # an image is anybody's, and so is what a decoder makes of it
        why = first_line(exc)
    raise DataError(f"Cannot read {safe(str(path))}: {safe(why)}.", "Remove it.", field="data")
