"""What the events of a scan come to, and the result that is made of it."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np

from spectrum_tui import __version__
from spectrum_tui.core.errors import ScanError
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerRescored,
    ScanEnded,
    ScanEvent,
    ScanStarted,
)
from spectrum_tui.core.model.inspection import Inspection
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.naming.stored import NAMING
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import (
    MetricColumn,
    Parts,
    Provenance,
    Result,
    Scores,
    int_array,
)
from spectrum_tui.core.scanning.plan import ScanPlan
from spectrum_tui.core.settings import METRICS


@dataclass(kw_only=True)
class Outcome:
    """What the events of a scan come to; `device` and `notes` say how it ran, `earlier` how
    what was scored before was read."""

    done: dict[str, LayerDone] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    device: str = ""
    notes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    finished: bool = False

    def add(self, event: ScanEvent) -> None:
        """Take in one event."""
        match event:
            case ScanStarted():
                self.device, self.notes = event.device, event.notes
                self.earlier = event.earlier
            case LayerDone():
                self.done[event.layer] = event
            case LayerRescored():
                self.done[event.done.layer] = event.done
            case LayerFailed():
                self.failed[event.layer] = event.reason
            case ScanEnded():
                self.finished = event.reason == "finished"
                self.notes += event.notes

    def leave_out(self, matrices: Set[str], plan: ScanPlan) -> None:
        """Forget the scores of layers with one of these matrices."""
        for layer in plan.layers if matrices else ():
            if not matrices.isdisjoint(layer.matrix_names):
                self.done.pop(layer.name, None)

    def check(self) -> None:
        """Raise ScanError where every layer failed: that is no result."""
        if self.failed and not self.done:
            layer, reason = next(iter(self.failed.items()))
            raise ScanError(
                f"None of {counted(len(self.failed), 'layer')} could be scored; {layer}: "
                f"{reason.rstrip('.')}.",
                "Check that the files are the full-precision weights, or download them again.",
            )


def build_result(inspection: Inspection, plan: ScanPlan, outcome: Outcome) -> Result:
    """Return the result of a scan, finished or not, from the scores and failures so far."""
    done, failed = outcome.done, outcome.failed
    layers = [layer for layer in plan.layers if layer.name in done or layer.name in failed]
    type_names = list(dict.fromkeys(layer.type for layer in layers))
    place = {name: i for i, name in enumerate(type_names)}
    scores = Scores(
        layers=[layer.name for layer in layers],
        type_names=type_names,
        type_ids=int_array([place[layer.type] for layer in layers]),
        rows=int_array([layer.rows for layer in layers]),
        columns=int_array([layer.columns for layer in layers]),
        numel=int_array([layer.numel for layer in layers]),
        parameters=[layer.parameters for layer in layers],
        metrics={name: _column(name, layers, done) for name in METRICS},
        problems={i: failed[layer.name] for i, layer in enumerate(layers) if layer.name in failed},
    )
    model = inspection.model
    return Result(
        scores=scores,
        embeddings=model.embeddings,
        provenance=_provenance(inspection, plan, outcome),
        total_parameters=model.total_parameters,
        planned=len(plan.layers),
        skipped=model.skipped,
        parameters=model.parameters,
        checkpoint=inspection.checkpoint.fingerprint,
    )


def _column(metric: str, layers: list[Layer], done: dict[str, LayerDone]) -> MetricColumn:
    """One metric of all layers, NaN where a layer failed."""
    values = np.full(len(layers), np.nan)
    parts: Parts = {}
    for row, layer in enumerate(layers):
        event = done.get(layer.name)
        if event is None:
            continue
        values[row] = event.metrics[metric]
        if event.parts:
            parts[row] = tuple(zip(event.parts, event.part_metrics[metric], strict=True))
    return MetricColumn(values, parts)


def _provenance(inspection: Inspection, plan: ScanPlan, outcome: Outcome) -> Provenance:
    summary = inspection.summary
    return Provenance(
        model=summary.name,
        revision=summary.revision,
        architecture=summary.architecture,
        dtypes="/".join(summary.dtypes),
        naming=summary.naming or NAMING,
        device=outcome.device,
        precision=plan.precision,
        finished=time.strftime("%Y-%m-%d", time.gmtime()),
        version=__version__,
        notes=outcome.notes,
    )
