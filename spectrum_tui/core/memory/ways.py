"""A way to train as it is typed: `qlora gpus=2 sharding=zero3`."""

from __future__ import annotations

from dataclasses import replace

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.memory.presets import (
    Training,
    parse_batch,
    parse_gpus,
    parse_sequence,
    preset_named,
    sharding_named,
)
from spectrum_tui.core.recipes.choice import Tiers

_DEFAULT = Training()
_CHECKPOINTING = {"yes": True, "no": False}


def parse_way(text: str, tiers: Tiers) -> Training:
    """Return how to train: a preset, and what else is other than usual, as in
    `qlora gpus=2 sharding=zero3 batch=4 sequence=4096 checkpointing=no`. Raises InputError."""
    training = replace(_DEFAULT, tiers=tiers)
    for word in text.split():
        name, sign, value = word.partition("=")
        if not sign:
            training = replace(training, preset=preset_named(name))
            continue
        match name:
            case "gpus":
                training = replace(training, gpus=parse_gpus(value))
            case "sharding":
                training = replace(training, sharding=sharding_named(value))
            case "batch":
                training = replace(training, batch=parse_batch(value))
            case "sequence":
                training = replace(training, sequence=parse_sequence(value))
            case "checkpointing" if value in _CHECKPOINTING:
                training = replace(training, checkpointing=_CHECKPOINTING[value])
            case _:
                raise InputError(
                    f"{word!r} says nothing of a way to train.",
                    "Write 'qlora', or with more: "
                    "'qlora gpus=2 sharding=zero3 batch=4 sequence=4096 checkpointing=no'.",
                    field="way",
                )
    return training


def way_text(training: Training) -> str:
    """Return a way to train as `parse_way` reads it, without what is usual."""
    checkpointing = "yes" if training.checkpointing else "no"
    words = {
        "gpus": (training.gpus, _DEFAULT.gpus),
        "sharding": (training.sharding.name, _DEFAULT.sharding.name),
        "batch": (training.batch, _DEFAULT.batch),
        "sequence": (training.sequence, _DEFAULT.sequence),
        "checkpointing": (checkpointing, "yes"),
    }
    said = (f"{name}={value}" for name, (value, usual) in words.items() if value != usual)
    return " ".join([training.preset.name, *said])
