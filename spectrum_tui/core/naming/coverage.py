"""How much of a model its checkpoint holds: what it does not would start from random values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.checkpoint.shards import INDEX_FILE, SINGLE_FILE
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter
from spectrum_tui.core.naming.wrapped import Wrapping, find_wrapping

MOST_MISSING = 0.5
"""Share of the elements or of the matrices, above which it is another model's checkpoint."""


def check_loads(checkpoint: Checkpoint, plan: ParameterPlan, name: str) -> None:
    """Raise CheckpointError for a model, called `name`, of which `from_pretrained` would make most
    parameters random: with the cause, where it is in the names."""
    if plan.naming == "checkpoint":
        return
    stored = [tensor.name for tensor in checkpoint.tensors]
    share = missing_share(plan)
    if share > MOST_MISSING:
        wrapping = find_wrapping(stored, plan.missing)
    elif plan.naming == "suffix":  # sees through what from_pretrained does not
        wrapping = find_wrapping(stored, ())
    else:
        wrapping = None
    if wrapping is not None:
        raise _wrapped(checkpoint, plan, name, wrapping)
    if share > MOST_MISSING:
        raise _of_another_model(plan, name, share)


def wrapped_names(checkpoint: Checkpoint, plan: ParameterPlan) -> Iterator[str]:
    """Yield the note on a wrapper in the names of a model of which only the names are known."""
    if plan.naming != "checkpoint":
        return
    wrapping = find_wrapping([tensor.name for tensor in checkpoint.tensors], ())
    if wrapping is not None:
        yield (
            f"{wrapping.part} is in the names, as inside {wrapping.by}: save the model from inside "
            "it (model.module, model._orig_mod), or a trainer may find no parameter under its name"
        )


def check_named_weights(checkpoint: Checkpoint, name: str) -> None:
    """Raise CheckpointError where config.json names another file as the weights than those read:
    `from_pretrained` loads that one."""
    named = checkpoint.config.get("transformers_weights")
    read = INDEX_FILE if checkpoint.indexed else checkpoint.shards[0]
    if checkpoint.shards == (SINGLE_FILE,):
        read = SINGLE_FILE
    if isinstance(named, str) and named != read:
        raise CheckpointError(
            f"config.json of {name} names {named} as its weights, which from_pretrained loads "
            f"instead of {read}.",
            f"Give a folder with config.json and that file as {SINGLE_FILE}.",
            field="model",
        )


def missing_share(plan: ParameterPlan) -> float:
    """Return the share of what is not stored: of the elements or of the matrices, whichever is
    more."""
    matrices = [(1, p) for p in plan.parameters if len(p.shape) > 1]
    return max(_share([(p.numel, p) for p in plan.parameters]), _share(matrices))


def _share(weighed: list[tuple[int, RuntimeParameter]]) -> float:
    whole = sum(weight for weight, _ in weighed)
    return sum(weight for weight, p in weighed if not p.sources) / whole if whole else 0.0


def _wrapped(
    checkpoint: Checkpoint, plan: ParameterPlan, name: str, wrapping: Wrapping
) -> CheckpointError:
    names = [tensor.name for tensor in checkpoint.tensors]
    example = next(name for name in names if re.search(wrapping.pattern, name))
    message = (
        f"{name} was saved from inside {wrapping.by}: {wrapping.part} is in the names of its "
        f"tensors ({example}), and from_pretrained would start {plan.model_class} from random "
        "values."
    )
    if wrapping.has_adapters:
        hint = "Merge the adapters first: model.merge_and_unload().save_pretrained(folder)."
    else:
        folder = str(checkpoint.folder) if checkpoint.folder.is_dir() else "FOLDER"
        output = f"{Path(name).name or 'model'}-unwrapped"
        hint = f"Save it without: {wrapping.command(plan.model_class, folder, output)}"
    return CheckpointError(message, hint, field="model")


def _of_another_model(plan: ParameterPlan, name: str, share: float) -> CheckpointError:
    instead = f", while {plan.unexpected[0]} is stored" if plan.unexpected else ""
    return CheckpointError(
        f"{name} does not hold a {plan.model_class}: {len(plan.missing)} of "
        f"{len(plan.parameters)} parameters ({share:.0%}) are not stored and would start from "
        f"random values, first {plan.missing[0]}{instead}.",
        "Check that config.json belongs to these weights, or name their class with --model-class.",
        field="model",
    )
