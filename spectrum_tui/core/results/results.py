"""Scores in memory: columns for tens of thousands of layers, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.settings import ALL_METRICS, DATA_METRICS, METRIC

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def int_array(values: Sequence[int]) -> IntArray:
    """Return a column of 64-bit integers, as `Scores` and the tables made from it hold."""
    return np.array(values, np.int64)


class Generation(StrEnum):
    """Which rule a score file was made by: what an empty noise part was divided as.

    The reference tool wrote Infinity until April 2025 and divides by 1.0 since; the two rank
    differently (a norm is Infinity in the one and 1.0 in the other).
    """

    CURRENT = "noise 1.0 where empty"
    BEFORE_2025_04 = "Infinity where no noise (before April 2025)"
    UNKNOWN = "unknown"


Parts = dict[int, tuple[tuple[str, float], ...]]
"""Per row of several matrices, (label, value) of each."""


@dataclass(frozen=True, eq=False)
class MetricColumn:
    """The values of all rows in one metric, and of the matrices of those that have several."""

    values: FloatArray
    parts: Parts = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """One row per layer, in the order of the file (types together, layers in natural order).

    `type_ids[i]` indexes `type_names`. `rows` and `columns` are the matrix as scored (0 where
    unknown); `numel[i]` counts every parameter that trains with layer i, its bias included (0
    where unknown). `parameters[i]` are the names to write. `problems` says per row why there is
    no score. `metrics` are the columns of all metrics that are known, by name; the one of
    `metric` ranks the layers.
    """

    layers: list[str]
    type_names: list[str]
    type_ids: IntArray
    rows: IntArray
    columns: IntArray
    numel: IntArray
    parameters: list[tuple[str, ...]]
    metrics: dict[str, MetricColumn]
    metric: str = METRIC
    problems: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def values(self) -> FloatArray:
        """The values that rank: NaN where there is no score, +inf possible."""
        return self.metrics[self.metric].values

    @property
    def parts(self) -> Parts:
        """(label, value) of each matrix of a row that has several (experts), in the metric that
        ranks; the value of the row is their mean."""
        return self.metrics[self.metric].parts

    @property
    def has_shapes(self) -> bool:
        """Whether sizes are known (they are not in a score file of another tool)."""
        return bool(len(self)) and bool(self.numel.any())

    def shape(self, row: int) -> str:
        """`4096 × 1024`, `256 × 2048 × 7168` for experts, or a dash where it is unknown."""
        if not self.rows[row]:
            return "–"
        if self.rows[row] == 1:
            return numbers.shape(self.columns[row])
        parts = (len(self.parts[row]),) if row in self.parts else ()
        return numbers.shape(*parts, self.rows[row], self.columns[row])


ModuleKind = Literal["linear", "conv1d", "embedding", "other", ""]
"""What a parameter belongs to: `torch.nn.Linear`, transformers' `Conv1D`, `torch.nn.Embedding`
(or a subclass), anything else; "" where only the checkpoint is known."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of `model.named_parameters()`, as a trainer will see it."""

    name: str
    shape: tuple[int, ...]
    module: ModuleKind = ""

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class EmbeddingParameter:
    """An input embedding or a parameter of an output head: trained unless switched off.

    `numel` is 0 where unknown. `tied` names other parameters that are this same tensor. A head
    of a `task` is none of a vocabulary: a classifier, which may start from random values.
    """

    name: str
    numel: int
    tied: tuple[str, ...] = ()
    task: bool = False


UNHASHED = "Values were read in ranges at {}: the hashes of whole files were not checked."
"""What the notes of a scan without a download say."""

UNMARKED = (
    "The server gives neither ETag nor Last-Modified: that its files did not change during the "
    "scan is known by their sizes, headers and samples alone."
)
"""What they say besides, of such a server."""


def read_notes(ranges: str, *, unmarked: bool) -> tuple[str, ...]:
    """Return what stands in the provenance of scores whose values were read in ranges at `ranges`
    ("" for none), `unmarked` where nothing but their contents tells the files there from others."""
    notes = (UNHASHED.format(ranges), *([UNMARKED] if unmarked else []))
    return notes if ranges else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where scores come from: written into every file made of them.

    `notes` say what of the scan went otherwise than asked for (another device, less at a time).
    """

    model: str
    revision: str = ""
    architecture: str = ""
    dtypes: str = ""
    naming: str = "the checkpoint"
    device: str = ""
    finished: str = ""
    version: str = ""
    generation: Generation = Generation.CURRENT
    notes: tuple[str, ...] = ()
    precision: str = "exact"

    @property
    def unhashed(self) -> str:
        """Return in short that values were read in ranges; empty where the notes do not say so."""
        opening = UNHASHED.partition("{")[0]
        said = any(note.startswith(opening) for note in self.notes)
        return "read in ranges, hashes of whole files not checked" if said else ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """A scan's outcome, or a score file read back.

    `total_parameters` of the whole model (0 where unknown); `planned` is how many layers the
    scan was asked for, so that a stopped scan can say "37 of 224". `skipped` lists what of the
    model has no score on purpose, with the reason. `source` is the file it was read from,
    `parameters` all parameters of the model (empty where they are not known), tied ones once.
    `checkpoint` is the fingerprint of the files that were scanned, by which their singular values
    are found.
    """

    scores: Scores
    embeddings: tuple[EmbeddingParameter, ...]
    provenance: Provenance
    total_parameters: int
    planned: int
    skipped: tuple[tuple[str, str], ...] = ()
    source: str = ""
    embeddings_are_guessed: bool = False
    parameters: tuple[Parameter, ...] = ()
    checkpoint: str = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def task_head(self) -> tuple[EmbeddingParameter, ...]:
        """What a task puts on the model: the parameters of heads of no vocabulary."""
        return tuple(one for one in self.embeddings if one.task)

    @cached_property
    def task_modules(self) -> tuple[str, ...]:
        """The modules that hold the head of the task and nothing else, each as a whole.

        A table that is tied to one inside a module is something else: PEFT trains a copy of it.
        """
        embeddings = {one.name for one in self.task_head}
        names = self.names or tuple(n for row in self.scores.parameters for n in row)
        tied = (name for one in self.embeddings if not one.task for name in one.tied)
        within = (*names, *tied) if embeddings else ()
        others = [name.split(".") for name in within if name not in embeddings]
        taken = {".".join(parts[:end]) for parts in others for end in range(1, len(parts))}
        found: dict[str, None] = {}
        for one in self.task_head:
            parts = one.name.split(".")
            above = (".".join(parts[:end]) for end in range(1, len(parts)))
            found.update(dict.fromkeys([m for m in above if m not in taken][:1]))
        return tuple(found)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that this result can rank by, the one that it does among them."""
        scores = self.scores
        return tuple(name for name in ALL_METRICS if name in scores.metrics) or (scores.metric,)

    def with_metric(self, name: str) -> Result:
        """Return the same layers ranked by another metric, "" for its own; raises ResultsError
        if that metric is missing."""
        if name in ("", self.scores.metric):
            return self
        if name not in self.scores.metrics:
            hint = (
                f"Measure it with data: spectrum-tui probe {self.source or 'MODEL'} --data FILE."
                if name in DATA_METRICS
                else "Scan the model to get every metric, or rank by one that they hold: --metric "
                f"{self.metrics[0]}."
            )
            raise ResultsError(
                f"{self._called()} hold no {name}, only {', '.join(self.metrics)}.",
                hint,
                field="metric",
            )
        return replace(self, scores=replace(self.scores, metric=name))

    def _called(self) -> str:
        return f"The scores in {self.source}" if self.source else "These scores"

    @property
    def complete(self) -> bool:
        """Whether every planned layer was reached (failed ones count as reached)."""
        return len(self.scores) >= self.planned
