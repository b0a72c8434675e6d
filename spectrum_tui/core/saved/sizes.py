"""Sizes, true names and head for scores that came without: from the model, if it is at hand.

A score file of another tool holds names and scores alone. The headers of a model tell the rest, on
this machine or on the hub, and so does a folder with config.json alone. The network is only asked
for a model that the user named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spectrum_tui.core.errors import ResultsError, SpectrumError
from spectrum_tui.core.files import slug
from spectrum_tui.core.hub.cache import cached_models
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.layer_types import reference_type, tower_of
from spectrum_tui.core.model.from_config import inspect_shapes
from spectrum_tui.core.model.inspection import (
    Inspection,
    with_exact_names,
)
from spectrum_tui.core.naming.layers import Layer, ModelLayers
from spectrum_tui.core.naming.stored import NAMING
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.results.results import IntArray, Result, Scores
from spectrum_tui.core.saved import store

SIZES_OF = "sizes of "
_NUMBERED = re.compile(r"(?<![^.])[^.]+\.\d+(\.|$)")


@dataclass(frozen=True)
class _Match:
    """The layer of each row, None where the model has none; `fused` rows are single experts of
    a parameter that holds all of them."""

    layers: tuple[Layer | None, ...]
    fused: int = 0


def load_sized(path: Path, model: str = "", *, patience: Patience | None = None) -> Result:
    """Return saved scores with the sizes of `model`: a folder, or an id on the hub.

    Without one, of the cached model that the file is named after, where it fits. Scores that have
    sizes keep theirs, unless a model is given. A hub is asked with `patience`. Raises ResultsError,
    CheckpointError, HubError.
    """
    result = store.load_result(path)
    if model:
        return _remembered(with_sizes(result, described(model, patience)), path)
    if result.scores.has_shapes:
        return result
    for name in cached_models_of(result):
        try:
            return _remembered(with_sizes(result, described(name)), path)
        except SpectrumError:
            continue
    return result


def _remembered(result: Result, path: Path) -> Result:
    """Return scores with sizes; those of another tool have them from now on."""
    if not result.provenance.version:
        store.keep_details(result, path)
    return result


def cached_models_of(result: Result) -> list[str]:
    """Return the models in the hub's cache whose score file has this one's name."""
    name = slug(result.provenance.model)
    return [model for model in cached_models() if slug(model) == name]


def described(model: str, patience: Patience | None = None) -> Inspection:
    """Return a model under its exact names, by its headers or its config.json; raises
    CheckpointError or HubError."""
    return with_exact_names(inspect_shapes(model, patience))


def with_sizes(result: Result, inspection: Inspection) -> Result:
    """Return the same scores with the sizes, names and head of a model; raises ResultsError if they
    belong to another model."""
    summary = inspection.summary
    model, naming, note = inspection.model, summary.naming, ""
    match = _match(result, model)
    if match.fused:
        # One expert is no parameter any more: names of the generation that these scores are of.
        model, naming = inspection.preview or model, NAMING
        layers = counted(match.fused, "layer is a single expert", "layers are single experts")
        note = f"{layers}, which transformers 5 joins into one"
        match = _match(result, model)
    _check(result, summary.name, match, model)
    others = (one for one in result.provenance.notes if not one.startswith(SIZES_OF))
    notes = (*others, f"{SIZES_OF}{summary.name}", *filter(None, (note,)))
    notes = tuple(dict.fromkeys(notes))  # those of last time are among the first
    origin = replace(
        result.provenance, architecture=summary.architecture, naming=naming, notes=notes
    )
    return replace(
        result,
        scores=_sized(result, match),
        embeddings=model.embeddings,
        provenance=origin,
        total_parameters=model.total_parameters,
        embeddings_are_guessed=False,
        parameters=model.parameters,
    )


def _match(result: Result, model: ModelLayers) -> _Match:
    """Each row by its own name, by that of the stored tensor that became a parameter, or by what
    generations of transformers agree on: everything but the outermost names."""
    by_name = _names(model)
    joined = {
        origin.removesuffix(".weight")
        for origins in model.stored.values()
        if len(origins) > 1
        for origin in origins
    }
    by_end = _unique(by_name)
    layers: list[Layer | None] = []
    fused = 0
    for row in result.scores.layers:
        name = row.removesuffix(".weight")
        layer = by_name.get(name)
        if layer is None and name in joined:
            fused += 1
        elif layer is None:
            layer = by_end.get(_end(name))
        layers.append(layer)
    return _Match(tuple(layers), fused)


def _names(model: ModelLayers) -> dict[str, Layer]:
    """Every name that leads to a layer: its own, that of its tensor, and those tied to it."""
    owner = {name: layer for layer in model.layers for name in layer.parameters}
    found = {
        origins[0].removesuffix(".weight"): owner[name]
        for name, origins in model.stored.items()
        if len(origins) == 1 and name in owner
    }
    for one in model.embeddings:
        if one.name in owner:
            tied = (name.removesuffix(".weight") for name in one.tied)
            found.update(dict.fromkeys(tied, owner[one.name]))
    return found | {layer.name: layer for layer in model.layers}


def _end(name: str) -> tuple[str, str]:
    """Return the tower of a layer, and its path from the number of its block on.

    >>> _end("language_model.model.layers.3.mlp.up_proj")
    ('language', 'layers.3.mlp.up_proj')
    """
    numbered = _NUMBERED.search(name)
    return tower_of(name), name[numbered.start() :] if numbered else name.rpartition(".")[2]


def _unique(layers: Mapping[str, Layer]) -> dict[tuple[str, str], Layer]:
    """Return the layers by how they end, where that is true of one layer alone."""
    ends: dict[tuple[str, str], set[str]] = {}
    by_name = {layer.name: layer for layer in layers.values()}
    for layer in by_name.values():
        ends.setdefault(_end(layer.name), set()).add(layer.name)
    return {end: by_name[next(iter(names))] for end, names in ends.items() if len(names) == 1}


def _check(result: Result, name: str, match: _Match, model: ModelLayers) -> None:
    """Raise ResultsError unless every row is a layer of the model, and every type has all of its
    layers: scores of 16 blocks fit into a model of 32, too."""
    missing, rows = match.layers.count(None), len(match.layers)
    hint = "Give the model that was scored, or leave it out to see the scores alone."
    if missing:
        first = next(r for r, m in zip(result.scores.layers, match.layers, strict=True) if not m)
        raise ResultsError(
            f"These scores are of another model: {part_of(missing, rows, 'layer', 'is', 'are')} "
            f"not in {name}, first {first}.",
            hint,
            field="model",
        )
    found = {layer.name: layer for layer in match.layers if layer}
    # By the types of this program or by those of spectrum.py, whichever the scan chose from.
    short = _short(found.values(), model, _own_type)
    if short and _short(found.values(), model, _reference_type):
        kind, count, whole = short
        raise ResultsError(
            f"These scores are of another model: {name} has {counted(whole, 'layer')} of {kind}, "
            f"they have {count:,}.",
            hint,
            field="model",
        )


def _own_type(layer: Layer) -> str:
    return layer.type


def _reference_type(layer: Layer) -> str:
    return reference_type(layer.name)


def _short(
    found: Iterable[Layer], model: ModelLayers, type_of: Callable[[Layer], str]
) -> tuple[str, int, int] | None:
    """(type, layers scored, layers there are) of the first type that is not whole; None where
    each is."""
    whole = Counter(map(type_of, model.layers))
    scored = Counter(map(type_of, found)).items()
    return next(((kind, n, whole[kind]) for kind, n in scored if n < whole[kind]), None)


def _sized(result: Result, match: _Match) -> Scores:
    layers = [layer for layer in match.layers if layer]

    def column(values: Iterable[int]) -> IntArray:
        return np.fromiter(values, np.int64, len(layers))

    return replace(
        result.scores,
        rows=column(layer.rows for layer in layers),
        columns=column(layer.columns for layer in layers),
        numel=column(layer.numel for layer in layers),
        parameters=[layer.parameters for layer in layers],
    )
