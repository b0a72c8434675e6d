"""The layers of a running scan as the cells of a heat map: scored, failed, in progress, not yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spectrum_tui.app.widgets.heat_matrix import HeatMatrix
from spectrum_tui.app.widgets.marks import Sign
from spectrum_tui.core.results.results import (
    BoolArray,
    FloatArray,
    IntArray,
    MetricColumn,
    Scores,
    int_array,
)
from spectrum_tui.worker.progress import LayerNames


class Stage(Sign):
    """How far a layer is, and of a cell the last of these that any of its layers is in."""

    WAITING = "·"
    SCORED = " "
    IN_WORK = "▸"
    FAILED = "✗"


class ScanMatrix(HeatMatrix):
    """Filled in place while scores come; `folded` copies share what is known of the layers.

    `stages` are those of the layers, `stage` those of the cells. A cell takes its colour from the
    scores that it has by now.
    """

    def __init__(self, names: LayerNames, metric: str) -> None:
        self.names = names
        self.stages: npt.NDArray[np.uint8] = np.zeros(len(names.layers), np.uint8)
        self._row_of = {layer: row for row, layer in enumerate(names.layers)}
        self._in_work: list[int] = []
        sizes = int_array(list(names.types.values()))
        self._ends: IntArray = np.cumsum(sizes)
        super().__init__(_without_scores(names, np.repeat(np.arange(len(sizes)), sizes), metric))

    def take(self, scores: Sequence[tuple[str, float]], in_work: Iterable[str]) -> bool:
        """Note scores that have come (NaN: failed), and the matrices that are worked on; return
        whether anything of it is new, which `recount` shows."""
        before = self._in_work
        values = self.scores.values
        for row in self._in_work:
            self.stages[row] = Stage.WAITING if np.isnan(values[row]) else Stage.SCORED
        for layer, value in scores:
            if (row := self._row_of.get(layer, -1)) >= 0:
                values[row] = value
                self.stages[row] = Stage.FAILED if math.isnan(value) else Stage.SCORED
        layers = (matrix.partition(" [")[0] for matrix in in_work)  # one expert of a layer
        self._in_work = [self._row_of[layer] for layer in layers if layer in self._row_of]
        self.stages[self._in_work] = Stage.IN_WORK
        return bool(scores) or self._in_work != before

    def recount(self) -> None:
        """Take over into the cells what is known of the layers."""
        self.mean, self.cells = self._means()

    @property
    def done(self) -> BoolArray:
        """Which layers are scored or failed."""
        return np.asarray((self.stages == Stage.FAILED) | ~np.isnan(self.scores.values))

    def row_of(self, layer: str) -> int | None:
        """Return the row of a layer, None of one that is not planned."""
        return self._row_of.get(layer)

    def complete_types(self) -> list[tuple[str, int]]:
        """Return the types without a layer to come, in the order of the plan, each with the row of
        its best score; without those of which every layer failed."""
        done = np.concatenate([[0], np.cumsum(self.done)])
        values = np.nan_to_num(self.scores.values, nan=-np.inf, posinf=np.inf)
        found, first = [], 0
        for name, end in zip(self.names.types, self._ends.tolist(), strict=True):
            if end > first and done[end] - done[first] == end - first:
                best = first + int(values[first:end].argmax())
                if values[best] > -np.inf:
                    found.append((name, best))
            first = end
        return found

    def _means(self) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        self.stage = np.zeros(self.map_shape, np.uint8)
        for stage in (Stage.SCORED, Stage.IN_WORK, Stage.FAILED):
            self.stage[self._counted(self.stages == stage) > 0] = stage
        return super()._means()


def _without_scores(names: LayerNames, type_ids: IntArray, metric: str) -> Scores:
    layers = len(names.layers)
    unknown = np.zeros(layers, np.int64)
    return Scores(
        layers=list(names.layers),
        type_names=list(names.types),
        type_ids=type_ids,
        rows=unknown,
        columns=unknown,
        numel=unknown,
        parameters=[() for _ in names.layers],
        metrics={metric: MetricColumn(np.full(layers, np.nan))},
        metric=metric,
    )
