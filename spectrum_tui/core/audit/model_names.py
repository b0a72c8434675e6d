"""A model as an audit needs it: its parameters, and what else they are or were called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.model.inspection import exact_plan, inspect_model, naming_of
from spectrum_tui.core.naming.parameters import ParameterPlan
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.settings import Settings


def model_names(settings: Settings, *, patience: Patience | None = None) -> ModelNames:
    """Return the parameters of a folder, a cached or a hub model, read from headers alone.

    Raises what `inspect_model` and `with_exact_names` raise.
    """
    inspection = inspect_model(settings.model, settings.revision, patience=patience)
    with without_collections():
        _, plan = exact_plan(inspection, replace(settings, allow_gptq=True))
    parameters = plan.parameters
    return ModelNames(
        model=inspection.summary.name,
        naming=naming_of(plan),
        names=tuple(p.name for p in parameters),
        sizes=tuple(p.numel for p in parameters),
        rows=tuple(p.shape[0] if p.shape else 0 for p in parameters),
        tied=tuple((alias, p.name) for p in parameters for alias in p.aliases),
        stored=tuple(_stored(plan)),
        notes=tuple(filter(None, (plan.banner,))),
        classes=tuple(_classes(inspection.checkpoint.config, plan)),
    )


def _classes(
    config: Mapping[str, Any], plan: ParameterPlan
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Other classes; not where this one is known without transformers, whose others only leave
    `model.` out."""
    if plan.naming in ("transformers", "suffix"):
        from spectrum_tui.core.naming.model_class import names_by_class

        yield from names_by_class(config, plan.model_class)


def _stored(plan: ParameterPlan) -> Iterator[tuple[str, str]]:
    for parameter in plan.parameters:
        for source in parameter.sources:
            if source.name != parameter.name:
                yield source.name, parameter.name
