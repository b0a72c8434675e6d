"""The scores of a model in memory: what a scan reads from files, read from its parameters.

Same layers, same names, same formulas. A matrix is looked at where it is, on its device; beside
the model there is never more than one chunk and one Gram matrix of it. A layer with a LoRA adapter
is scored by its effective weight W + s·B·A, W dequantised where it is quantised: one such matrix
(a layer's experts) is made at a time.
"""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.experts import GateUpSplit, experts_in, gate_up_split
from spectrum_tui.core.naming.layers import Layer, is_bias, with_types
from spectrum_tui.core.naming.parameters import is_convolution
from spectrum_tui.core.results.results import MetricColumn, Provenance, Result, Scores
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.scoring.snr import mean, why_unscored
from spectrum_tui.core.scoring.svd import EXACT, singular_values
from spectrum_tui.core.stored_types import Array, as_numpy
from spectrum_tui.core.text import safe
from spectrum_tui.core.training.live_adapters import LiveAdapter, live_adapters
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLayer:
    """A layer of a model in memory: its weight, how many experts are in it, and its adapter."""

    layer: Layer
    weight: torch.nn.Parameter
    experts: int = 0
    gate_up: GateUpSplit | None = None
    adapter: LiveAdapter | None = None

    @property
    def name(self) -> str:
        """The layer's name, as in score files."""
        return self.layer.name

    @property
    def trains(self) -> bool:
        """Whether training can change it."""
        adapter = self.adapter
        return self.weight.requires_grad or (adapter is not None and adapter.trains)

    def effective(self) -> torch.Tensor:
        """Return the weight that the forward pass computes with; raises SpectrumError where it is
        quantised and cannot be turned back."""
        adapter = self.adapter
        if adapter is None:
            return self.weight.detach()
        weight = dequantised(adapter)
        if not adapter.applies():
            return weight
        delta: torch.Tensor = adapter.module.get_delta_weight(adapter.name).detach()
        return weight.float() + delta.float()

    def matrices(self) -> Iterator[torch.Tensor]:
        """Yield the matrices that are scored, as views: the weight, or each expert's gate and
        up."""
        weight = self.effective()
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

    values: Array | torch.Tensor
    by_rows: bool = True

    def read_rows(self, start: int, stop: int) -> Array | torch.Tensor:
        """Rows [start, stop), a view."""
        return self.values[start:stop]

    def read_columns(self, rows: int, start: int, stop: int) -> Array | torch.Tensor:
        """Columns [start, stop) of the first `rows` rows, a view."""
        return self.values[:rows, start:stop]


def _score(matrix: torch.Tensor, metric: str) -> float:
    rows, columns = matrix.shape
    # Apple's GPUs have no float64.
    if matrix.device.type in ("cpu", "mps"):
        values, device = _Values(as_numpy(matrix.detach().cpu())), "cpu"
    else:
        values, device = _Values(matrix.detach()), str(matrix.device)
    found = singular_values(values, rows, columns, device, EXACT)
    return described(metric).of(found.values, rows, columns)


def live_layers(model: torch.nn.Module, patterns: Sequence[str] = ()) -> list[LiveLayer]:
    """Return the layers of matrices whose type matches one of the shell patterns (any without
    them).

    Raises SpectrumError for a model whose parameters are spread over several processes: no one
    of them has a whole matrix.
    """
    parameters = unique(live_parameters(model))
    _refuse_sharded(model, parameters)
    adapters = {(id(one.base), one.weight_name): one for one in live_adapters(model)}
    shapes = {p.name: _shape(p) for p in parameters}
    model_type = str(getattr(getattr(model, "config", None), "model_type", ""))
    found = []
    for p in parameters:
        adapter = adapters.get((id(p.module), p.actual.rpartition(".")[2]))
        if _is_matrix(p, adapter):
            found.append(replace(_layer(p, shapes, model_type), adapter=adapter))
    named = zip(found, with_types(layer.layer for layer in found), strict=True)
    layers = [replace(old, layer=new) for old, new in named]
    return [one for one in layers if not patterns or _matches(one.layer.type, patterns)]


def _refuse_sharded(model: torch.nn.Module, parameters: Sequence[LiveParameter]) -> None:
    spread = any(hasattr(p.parameter, name) for p in parameters for name in _SHARDED)
    if spread or "FullyShardedDataParallel" in wrappers_of(model):
        raise SpectrumError(
            "The model's weights are spread over several processes.",
            "Scan the saved checkpoint instead: spectrum-tui scan.",
        )


def _shape(p: LiveParameter) -> tuple[int, ...]:
    """Return the shape of a weight, that of one in 4 bits as it was."""
    packed = getattr(p.parameter, "quant_state", None)
    return tuple(getattr(packed, "shape", p.parameter.shape))


def _is_matrix(p: LiveParameter, adapter: LiveAdapter | None) -> bool:
    weight, shape = p.parameter, _shape(p)
    if p.role in ("adapter", "replaced") or is_bias(p.name) or len(shape) < 2:
        return False
    if not weight.is_floating_point() and adapter is None:
        return False  # quantised, and frozen
    if experts_in(p.name, shape, p.module):
        return True
    return p.name.endswith("weight") and (len(shape) == 2 or is_convolution(shape, p.module))


def _layer(p: LiveParameter, shapes: dict[str, tuple[int, ...]], model_type: str) -> LiveLayer:
    weight, shape = p.parameter, _shape(p)
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
        numel=math.prod(shape),
        nbytes=weight.nbytes,
        experts=experts,
    )
    return LiveLayer(layer=layer, weight=weight, experts=experts, gate_up=split)


def dequantised(adapter: LiveAdapter) -> torch.Tensor:
    """Return the weight that an adapter is beside, as numbers; raises SpectrumError where PEFT
    cannot turn a quantised one back."""
    base: Any = adapter.base
    weight: torch.Tensor = getattr(base, adapter.weight_name)
    if weight.is_floating_point():
        return weight.detach()
    if getattr(getattr(weight, "quant_state", None), "packing_format_for_cpu", False):
        return _unpacked(weight)
    from peft.utils.integrations import dequantize_module_weight

    weight = dequantize_module_weight(base).detach()
    if not weight.is_floating_point():
        raise SpectrumError(
            f"{safe(adapter.layer)} is quantised as {type(base).__name__}, which PEFT cannot "
            "dequantise.",
            "Load the base in 16 bits, or in 4 or 8 bits by bitsandbytes.",
        )
    return weight


def _unpacked(weight: Any) -> torch.Tensor:
    """Return a weight in 4 bits that bitsandbytes (0.50) has packed for inference on a CPU, in
    which order its dequantiser does not read it."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse, dequantize_4bit

    state = copy.copy(weight.quant_state)
    data, state = _convert_weight_packed_for_cpu_inverse(weight.data, state)
    values: torch.Tensor = dequantize_4bit(data, state)
    return values


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
        values = [self._known[one.name] for one in self.layers]
        return result_of(self.layers, values, self._metric, self._model)


def result_of(
    layers: Sequence[LiveLayer], values: Sequence[float | str], metric: str, model: str
) -> Result:
    """Return the scores of layers as a result; a text says why a layer has none."""
    types = list(dict.fromkeys(one.layer.type for one in layers))
    nothing = np.zeros(len(values), np.int64)
    numbers = np.asarray([math.nan if isinstance(v, str) else v for v in values], np.float64)
    scores = Scores(
        layers=[one.name for one in layers],
        type_names=types,
        type_ids=np.asarray([types.index(one.layer.type) for one in layers], np.int64),
        rows=nothing,
        columns=nothing,
        numel=nothing,
        parameters=[one.layer.parameters for one in layers],
        metrics={metric: MetricColumn(numbers)},
        metric=metric,
        problems={row: value for row, value in enumerate(values) if isinstance(value, str)},
    )
    return Result(
        scores=scores,
        embeddings=(),
        provenance=Provenance(model=model),
        total_parameters=0,
        planned=len(values),
    )


def _scored(layer: LiveLayer, metric: str) -> float | str:
    try:
        return layer.score(metric)
    except Exception as exc:  # the training goes on, whatever is wrong with one matrix
        return why_unscored(exc)
