"""The scores of a model in memory: what a scan reads from files, read from its parameters.

Same layers, same names, same formulas. A matrix is looked at where it is, on its device; beside
the model there is never more than one chunk and one Gram matrix of it.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.experts import GateUpSplit, experts_in, gate_up_split
from spectrum_tui.core.naming.layers import Layer, is_bias, with_types
from spectrum_tui.core.naming.parameters import is_convolution
from spectrum_tui.core.results.results import MetricColumn, Provenance, Result, Scores
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.scoring.snr import mean, why_unscored
from spectrum_tui.core.scoring.svd import EXACT, singular_values
from spectrum_tui.core.training.live_names import (
    LiveParameter,
    live_parameters,
    unique,
    wrappers_of,
)

if TYPE_CHECKING:
    import torch

_SHARDED = ("full_tensor", "ds_id")
"""What parameters have of FSDP 2, and of DeepSpeed ZeRO 3."""


@dataclass(frozen=True, slots=True)
class LiveLayer:
    """A layer of a model in memory: its weight, and how many experts are in it."""

    layer: Layer
    weight: torch.nn.Parameter
    experts: int = 0
    gate_up: GateUpSplit | None = None

    @property
    def name(self) -> str:
        """The layer's name, as in score files."""
        return self.layer.name

    @property
    def trains(self) -> bool:
        """Whether training can change it."""
        return self.weight.requires_grad

    def matrices(self) -> Iterator[torch.Tensor]:
        """Yield the matrices that are scored, as views: the weight, or each expert's gate and
        up."""
        weight = self.weight.detach()
        if not self.experts:
            yield weight.reshape(weight.shape[0], -1)
            return
        for expert in weight:
            yield from self.gate_up.cut(expert) if self.gate_up else (expert,)

    def score(self, metric: str) -> float:
        """Its score, the mean over its matrices; raises whatever `why_unscored` puts in words."""
        values = [_score(matrix, metric) for matrix in self.matrices()]
        return mean(values)


@dataclass(frozen=True, slots=True)
class _Values:
    """A tensor as the rows that `core.scoring.svd` reads."""

    tensor: torch.Tensor
    by_rows: bool = True

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop), a view."""
        return self.tensor[start:stop]

    def read_columns(self, rows: int, start: int, stop: int) -> torch.Tensor:
        """Columns [start, stop) of the first `rows` rows, a view."""
        return self.tensor[:rows, start:stop]


def _score(matrix: torch.Tensor, metric: str) -> float:
    rows, columns = matrix.shape
    # Apple's GPUs have no float64.
    device = "cpu" if matrix.device.type == "mps" else str(matrix.device)
    found = singular_values(_Values(matrix), rows, columns, device, EXACT)
    return described(metric).of(found.values, rows, columns)


def live_layers(model: torch.nn.Module, patterns: Sequence[str] = ()) -> list[LiveLayer]:
    """Return the layers of matrices whose type matches one of the shell patterns (any without
    them).

    Raises SpectrumError for a model whose parameters are spread over several processes: no one
    of them has a whole matrix.
    """
    parameters = unique(live_parameters(model))
    _refuse_sharded(model, parameters)
    shapes = {p.name: tuple(p.parameter.shape) for p in parameters}
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    found = [_layer(p, shapes, model_type) for p in parameters if _is_matrix(p)]
    named = zip(found, with_types(layer.layer for layer in found), strict=True)
    layers = [LiveLayer(new, old.weight, old.experts, old.gate_up) for old, new in named]
    return [one for one in layers if not patterns or _matches(one.layer.type, patterns)]


def _refuse_sharded(model: torch.nn.Module, parameters: Sequence[LiveParameter]) -> None:
    spread = any(hasattr(p.parameter, name) for p in parameters for name in _SHARDED)
    if spread or "FullyShardedDataParallel" in wrappers_of(model):
        raise SpectrumError(
            "The model's weights are spread over several processes.",
            "Scan the saved checkpoint instead: spectrum-tui scan.",
        )


def _is_matrix(p: LiveParameter) -> bool:
    weight = p.parameter
    if (
        p.role in ("adapter", "replaced")
        or is_bias(p.name)
        or weight.ndim < 2
        or not weight.is_floating_point()
    ):
        return False
    shape = tuple(weight.shape)
    if experts_in(p.name, shape, p.module):
        return True
    return p.name.endswith("weight") and (len(shape) == 2 or is_convolution(shape, p.module))


def _layer(p: LiveParameter, shapes: dict[str, tuple[int, ...]], model_type: str) -> LiveLayer:
    weight, shape = p.parameter, tuple(p.parameter.shape)
    name = p.name.removesuffix(".weight")
    experts = experts_in(p.name, shape, p.module)
    split = None
    if experts:
        split = gate_up_split(p.name, shape, shapes.get, module=p.module, model_type=model_type)
    bias = next((n for n in (f"{name}.bias", f"{p.name}_bias") if n in shapes), "")
    names = (p.name, bias) if bias else (p.name,)
    layer = Layer(
        name=name,
        type="",
        shape=shape,
        rows=0,
        columns=0,
        parameters=names,
        numel=weight.numel(),
        nbytes=weight.nbytes,
        experts=experts,
    )
    return LiveLayer(layer, weight, experts, split)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Rescorer:
    """Scores chosen layers of a model again and again; those that do not train only once."""

    def __init__(self, layers: Sequence[LiveLayer], metric: str, model: str) -> None:
        self.layers = layers
        self._metric = metric
        self._model = model
        self._known: dict[str, float | str] = {}

    def result(self) -> Result:
        """Return the scores now; a layer that cannot be scored has its reason among the
        problems."""
        for layer in self.layers:
            if layer.trains or layer.name not in self._known:
                self._known[layer.name] = _scored(layer, self._metric)
        types = list(dict.fromkeys(one.layer.type for one in self.layers))
        values = [self._known[one.name] for one in self.layers]
        nothing = np.zeros(len(values), np.int64)
        numbers = np.asarray([math.nan if isinstance(v, str) else v for v in values], np.float64)
        scores = Scores(
            layers=[one.name for one in self.layers],
            type_names=types,
            type_ids=np.asarray([types.index(one.layer.type) for one in self.layers], np.int64),
            rows=nothing,
            columns=nothing,
            numel=nothing,
            parameters=[one.layer.parameters for one in self.layers],
            metrics={self._metric: MetricColumn(numbers)},
            metric=self._metric,
            problems={row: value for row, value in enumerate(values) if isinstance(value, str)},
        )
        return Result(
            scores=scores,
            embeddings=(),
            provenance=Provenance(model=self._model),
            total_parameters=0,
            planned=len(values),
        )


def _scored(layer: LiveLayer, metric: str) -> float | str:
    try:
        return layer.score(metric)
    except Exception as exc:  # the training goes on, whatever is wrong with one matrix
        return why_unscored(exc)
