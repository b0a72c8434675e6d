"""A probe's values as metrics of the result that it was made for, and how they agree with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from spectrum_tui.core.comparison.compare import spearman
from spectrum_tui.core.probing.formulas import of_layer
from spectrum_tui.core.probing.records import Probed, Target
from spectrum_tui.core.results.results import MetricColumn, Parts, Result
from spectrum_tui.core.settings import DATA_METRICS, METRIC

ALL = "all"
"""The row of `agreement` for all layers together."""


def targets_of(result: Result) -> tuple[Target, ...]:
    """Return what a probe measures for each layer of a result."""
    scores = result.scores
    return tuple(
        Target(parameter=names[0], labels=tuple(label for label, _ in scores.parts.get(row, ())))
        for row, names in enumerate(scores.parameters)
    )


def with_probed(result: Result, probed: Probed, about: str) -> Result:
    """Return the result with the metrics of data beside its own, and what they were measured with
    among its notes."""
    columns = {name: _column(result, probed, name) for name in DATA_METRICS}
    scores = replace(result.scores, metrics={**result.scores.metrics, **columns})
    notes = [one for one in result.provenance.notes if not one.startswith(PROBED)]
    origin = replace(result.provenance, notes=(*notes, f"{PROBED} {about}"))
    return replace(result, scores=scores, provenance=origin)


PROBED = "probed with"
"""How the note begins that says what the metrics of data were measured with."""


def _column(result: Result, probed: Probed, metric: str) -> MetricColumn:
    values = np.full(len(result.scores), np.nan)
    parts: Parts = {}
    for row, found in enumerate(probed.values):
        own = found.get(metric, ())
        known = result.scores.parts.get(row, ())
        if known:
            own = own if len(own) == len(known) else (math.nan,) * len(known)
            parts[row] = tuple((label, x) for (label, _), x in zip(known, own, strict=True))
        values[row] = of_layer(own)
    return MetricColumn(values, parts)


def agreement(result: Result) -> Mapping[str, Mapping[str, float]]:
    """{type: {metric of data: Spearman's rho against the SNR}}, `ALL` types last, each over the
    layers that have both; NaN where there are fewer than two."""
    scores = result.scores
    own = scores.metrics.get(METRIC)
    if own is None:
        return {}
    kinds = {name: scores.type_ids == at for at, name in enumerate(scores.type_names)}
    kinds[ALL] = np.ones(len(scores), bool)
    table: dict[str, dict[str, float]] = {}
    for kind, rows in kinds.items():
        table[kind] = {}
        for metric in DATA_METRICS:
            if (column := scores.metrics.get(metric)) is not None:
                both = rows & ~np.isnan(own.values) & ~np.isnan(column.values)
                table[kind][metric] = spearman(own.values[both], column.values[both])
    return table
