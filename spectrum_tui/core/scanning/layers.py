"""One layer of a scan: what of it is scored, the events that tell, and the memory it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from spectrum_tui.core.events import LayerDone, LayerFailed, LayerRescored, MatrixDone, ScanEvent
from spectrum_tui.core.journal.journal import Entry
from spectrum_tui.core.naming.layers import Layer
from spectrum_tui.core.scanning.precision import Interval
from spectrum_tui.core.scoring.metrics import ONE_DIMENSIONAL
from spectrum_tui.core.scoring.on_torch import GPU_CHUNKS
from spectrum_tui.core.scoring.snr import mean
from spectrum_tui.core.scoring.svd import CHUNK_ELEMENTS, EXACT, STRIP_ELEMENTS
from spectrum_tui.core.settings import METRIC, METRICS

GRAM_COPIES = 2.5
"""Peak memory in Gram matrices: itself, the solver's copy and its work (measured: 2.4 to 2.6 at
1024 and 2048 columns)."""

GPU_GRAM_COPIES = 5.0
"""The same on a GPU, where sums in float32 are there beside those in float64, and the solver's work
may be as large as two more. An estimate."""


class LayerWork:
    """One layer and the scores of its matrices so far.

    Its score is that of its only matrix, or the mean over the matrices of all its experts; it
    has none where one of them has none.
    """

    def __init__(self, layer: Layer, known: Mapping[str, Entry], precision: str = EXACT) -> None:
        self.layer = layer
        self.whole_cost = layer.cost_in(precision)
        self.metrics: dict[int, Mapping[str, float]] = {}
        self.errors: dict[int, float] = {}
        self.problem = ""
        self.names = layer.matrix_names
        for index in range(len(layer.matrices)):
            if (entry := known.get(self.names[index])) is not None:
                self.metrics[index] = entry.metrics
                self.errors[index] = entry.error

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do; a 1-D weight scores 1.0 without doing anything."""
        return self.layer.one_dimensional or len(self.metrics) == len(self.layer.matrices)

    @property
    def missing(self) -> list[int]:
        """The matrices without a score."""
        return [i for i in range(len(self.layer.matrices)) if i not in self.metrics]

    @property
    def cost(self) -> float:
        """Work that is left, in the units of `svd.cost`."""
        return self.matrix_cost * len(self.missing)

    @property
    def matrix_cost(self) -> float:
        """Work of one of its matrices."""
        return self.whole_cost / self.layer.matrix_count

    @property
    def has_parts(self) -> bool:
        """Whether the layer is more than one matrix."""
        return len(self.layer.matrices) > 1

    def shape_of(self, index: int) -> tuple[int, ...]:
        """Return what is worked on: the parameter's own shape where it is one matrix."""
        matrix = self.layer.matrices[index]
        return (matrix.rows, matrix.columns) if self.has_parts else self.layer.shape

    @property
    def interval(self) -> Interval:
        """Where the layer's score lies for certain."""
        scores = [self.metrics[i][METRIC] for i in range(len(self.layer.matrices))]
        middle = mean(scores) if scores else 1.0
        # An infinite score is exact, and infinity times 0 is no number.
        bounds = [self.errors.get(i, 0.0) for i in range(len(scores))]
        errors = [snr * bound if bound else 0.0 for snr, bound in zip(scores, bounds, strict=True)]
        error = mean(errors) if errors else 0.0
        return Interval(middle - error, middle + error, exact=not error)

    def resumed(self) -> Iterator[ScanEvent]:
        """Yield the events of what the journal already had."""
        if self.is_complete:
            yield self._done(self.whole_cost, self.layer.nbytes, 0.0, resumed=True)
        elif self.has_parts:
            for index in self.metrics:
                yield self._part_done(index, 0.0, resumed=True)

    def add(
        self,
        index: int,
        metrics: Mapping[str, float],
        seconds: float,
        problem: str = "",
        error: float = 0.0,
    ) -> list[ScanEvent]:
        """Take in the scores of one matrix (NaN with a `problem`); the events that follow.

        `error` bounds the relative error of its SNR.
        """
        self.metrics[index] = metrics
        self.errors[index] = error
        if problem and not self.problem:
            label = self.layer.matrices[index].label
            self.problem = f"{label}: {problem}" if label else problem
        events: list[ScanEvent] = []
        cost, nbytes = self.whole_cost, self.layer.nbytes
        if self.has_parts:
            events.append(self._part_done(index, seconds))
            cost = nbytes = 0  # reported part by part
        if self.is_complete:
            last = self._failed(cost) if self.problem else self._done(cost, nbytes, seconds)
            events.append(last)
        return events

    def refine(
        self, index: int, metrics: Mapping[str, float], error: float
    ) -> Iterator[LayerRescored]:
        """Take in more exact scores of a matrix; the event of a layer that was done."""
        self.metrics[index], self.errors[index] = metrics, error
        if self.is_complete:
            yield LayerRescored(self._done(0.0, 0, 0.0))

    def _part_done(self, index: int, seconds: float, *, resumed: bool = False) -> MatrixDone:
        parts = len(self.layer.matrices)
        return MatrixDone(
            layer=self.names[index],
            type=self.layer.type,
            cost=self.matrix_cost,
            bytes=self.layer.nbytes // parts,
            seconds=seconds,
            resumed=resumed,
        )

    def _done(
        self, cost: float, nbytes: int, seconds: float, *, resumed: bool = False
    ) -> LayerDone:
        layer = self.layer
        columns = self._columns()
        means = {name: mean(values) for name, values in columns.items()}
        metrics = means if layer.matrices else dict(ONE_DIMENSIONAL)
        labels = [matrix.label for matrix in layer.matrices]
        return LayerDone(
            layer=layer.name,
            type=layer.type,
            shape=layer.shape,
            metrics=metrics,
            cost=cost,
            bytes=nbytes,
            seconds=seconds,
            resumed=resumed,
            parts=tuple(labels) if self.has_parts else (),
            part_metrics=columns if self.has_parts else {},
        )

    def _columns(self) -> dict[str, tuple[float, ...]]:
        """{metric: its value for each matrix}."""
        matrices = [self.metrics[i] for i in range(len(self.layer.matrices))]
        return {name: tuple(m[name] for m in matrices) for name in METRICS} if matrices else {}

    def _failed(self, cost: float) -> LayerFailed:
        layer = self.layer
        return LayerFailed(
            layer=layer.name, type=layer.type, shape=layer.shape, reason=self.problem, cost=cost
        )


def memory_need(layer: Layer) -> int:
    """Return the bytes that one matrix of a layer takes while it is in work.

    2.5 Gram matrices of the shorter side and two blocks in float64, beside what is held of the
    stored values.
    """
    short = min(layer.rows, layer.columns)
    block = 8 * max(CHUNK_ELEMENTS, short * short // 8)
    return int(GRAM_COPIES * gram_bytes(layer) + 2 * block + held_bytes(layer))


def gpu_need(layer: Layer) -> int:
    """Return the bytes of a GPU that one matrix of a layer takes while it is in work.

    5 Gram matrices of the shorter side, and two blocks, each as it is stored and in float64.
    """
    short = min(layer.rows, layer.columns)
    block = 16 * max(GPU_CHUNKS * CHUNK_ELEMENTS, short * short // 8)
    return int(GPU_GRAM_COPIES * gram_bytes(layer) + 2 * block)


def gram_bytes(layer: Layer) -> int:
    """Return the bytes of one matrix's Gram matrix in float64."""
    return 8 * min(layer.rows, layer.columns) ** 2


def held_bytes(layer: Layer) -> int:
    """Return the bytes of one matrix that the CPU's memory holds: a strip of it, all of one
    that is decoded whole (4 bytes each at most)."""
    rows, columns = layer.rows, layer.columns
    if not all(matrix.values.by_rows for matrix in layer.matrices[:1]):
        return 4 * rows * columns
    whole = layer.nbytes // layer.matrix_count
    return min(whole, whole * STRIP_ELEMENTS // (rows * columns))


def how_many_fit(
    layers: Iterable[Layer],
    budget: float,
    most: int,
    need: Callable[[Layer], int] = memory_need,
) -> int:
    """Return how many matrices of these layers are in work within `budget` bytes: 1 to `most`.

    The largest count, since they are taken first and so are in work together.
    """
    largest = sorted(
        (one for layer in layers for one in [need(layer)] * min(layer.matrix_count, most)),
        reverse=True,
    )[:most]
    if not largest:
        return most
    fitting = sum(total <= budget for total in accumulate(largest))
    return most if fitting == len(largest) else max(1, fitting)
