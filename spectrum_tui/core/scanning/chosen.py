"""Which layers of a model are scanned, by the types that were asked for."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.layer_types import TypeInfo, scanned_by_default
from spectrum_tui.core.model.inspection import Inspection
from spectrum_tui.core.naming.layers import Layer


def match_types(types: Iterable[TypeInfo], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the types that any shell-style pattern matches; every type of matrices without one.

    Of a model with several towers the language model's alone, where there is one. Raises
    InputError for a pattern that matches nothing.
    """
    types = list(types)
    patterns = list(patterns)
    if not patterns:
        chosen = scanned_by_default(types)
        return tuple(t.name for t in types if t.name in chosen)
    names = [t.name for t in types]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"No layer type matches {pattern!r}.",
                f"This model has: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}",
                field="types",
            )
    return tuple(name for name in names if any(fnmatchcase(name, p) for p in patterns))


def choose_layers(inspection: Inspection, types: tuple[str, ...]) -> list[Layer]:
    """Return the layers of the chosen types, types in tree order, layers in the model's."""
    chosen = types or match_types(inspection.summary.types, ())
    if not chosen:
        raise InputError(
            "The model has no type of matrices to scan.", "Name the types to scan.", field="types"
        )
    place = {t.name: i for i, t in enumerate(inspection.summary.types)}
    wanted = [layer for layer in inspection.model.layers if layer.type in set(chosen)]
    if not wanted:
        raise InputError(
            "The model has no layer of the chosen types.", "Choose other types.", field="types"
        )
    return sorted(wanted, key=lambda layer: place[layer.type])
