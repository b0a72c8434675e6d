"""The parameters that a trainer will have, from headers and config.json alone.

Three ways, the first that can be had: transformers' own conversion rules, a match of names by
suffix, the checkpoint's own names. The plan says which, and why it was not the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.naming.assemble import assemble
from spectrum_tui.core.naming.mapping import map_sources, match_sources
from spectrum_tui.core.naming.model_class import (
    NoModelClassError,
    Reason,
    empty_model,
    empty_model_of,
    first_line,
)
from spectrum_tui.core.naming.parameters import Naming, ParameterPlan, StoredSource, plain_source
from spectrum_tui.core.naming.stored import stored_plan
from spectrum_tui.core.naming.transformers_api import distrust, quiet

_HINTS = {
    Reason.NO_TRANSFORMERS: "Install transformers for exact names.",
    Reason.UNKNOWN_MODEL_TYPE: "A newer transformers may know it.",
    Reason.MISSING_DEPENDENCY: "Install it for exact names.",
}


def plan_parameters(
    checkpoint: Checkpoint, *, model_class: str = "", sources: Iterable[StoredSource] | None = None
) -> ParameterPlan:
    """Return the plan of a checkpoint; reads a tensor only to compare two that should be tied.

    `sources` are its tensors after dequantisation; by default every tensor is taken as its own
    values. `model_class` overrides the class (InputError when it does not fit). A model that
    cannot be known has a plan with a `banner`, never an error.
    """
    with without_collections():
        return _plan(checkpoint, model_class, sources)


def _plan(
    checkpoint: Checkpoint, model_class: str, sources: Iterable[StoredSource] | None
) -> ParameterPlan:
    found = tuple(map(plain_source, checkpoint.tensors)) if sources is None else tuple(sources)
    try:
        model = empty_model(checkpoint.config, model_class)
    except (NoModelClassError, InputError) as exc:
        may_load = model_class and checkpoint.has_config
        other = empty_model_of(checkpoint.config, model_class) if may_load else None
        if other is not None:
            return _fitting(model_class, _of_model(checkpoint, found, other))
        if isinstance(exc, InputError):
            raise
        return stored_plan(checkpoint, found, _why_stored(checkpoint, exc))
    return _of_model(checkpoint, found, model)


def _why_stored(checkpoint: Checkpoint, exc: NoModelClassError) -> str:
    why, hint = str(exc), _HINTS.get(exc.reason, "")
    if not checkpoint.has_config:
        why, hint = "there is no config.json", "Without it from_pretrained does not load them."
    return f"Names as stored in the checkpoint: {why}. {hint}".rstrip()


def _fitting(model_class: str, plan: ParameterPlan) -> ParameterPlan:
    """Return the plan of a class that config.json is not of, if the checkpoint has all of its
    parameters; transformers loads it then, with a warning. Raises InputError where some are
    missing."""
    if plan.missing or plan.mismatched:
        lacking = plan.missing or tuple(name for name, *_ in plan.mismatched)
        raise InputError(
            f"{model_class} is not a model class for this checkpoint, which lacks {len(lacking)} "
            f"of its {len(plan.parameters)} parameters, first {lacking[0]}.",
            "Leave it out, or name one such as AutoModelForCausalLM.",
            field="model_class",
        )
    return plan


def _of_model(checkpoint: Checkpoint, found: Sequence[StoredSource], model: Any) -> ParameterPlan:
    reason = distrust()
    if not reason:
        plan, reason = _attempt(model, found, "transformers")
        if plan is not None:
            return plan
    banner = f"Names matched by suffix: the rules of this transformers failed ({reason})."
    plan, reason = _attempt(model, found, "suffix", banner)
    if plan is not None:
        return plan
    banner = f"Names as stored in the checkpoint: they could not be matched ({reason})."
    return stored_plan(checkpoint, found, banner)


def _attempt(
    model: Any, sources: Sequence[StoredSource], naming: Naming, banner: str = ""
) -> tuple[ParameterPlan | None, str]:
    """Return (the plan, "") or (None, why it failed): the code that is tried here is of any
    version."""
    place = map_sources if naming == "transformers" else match_sources
    try:
        with quiet():
            return assemble(model, place(model, sources), naming=naming, banner=banner), ""
    except SpectrumError:
        raise
    except Exception as exc:
        return None, first_line(exc)
