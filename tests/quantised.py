"""Quantised checkpoints on disk, dequantised as the scan does it: what the tests of them share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.naming.parameters import StoredSource
from spectrum_tui.core.quantised.dequantise import Dequantised, dequantise
from spectrum_tui.core.stored_types import numpy_dtype
from tests.checkpoints import Tensors, save

INSTEAD = "Scan the full-precision model that it was made from."
LAYER = "model.layers.0.mlp.down_proj"


def config(method: str, **settings: Any) -> dict[str, Any]:
    return {"dtype": "bfloat16", "quantization_config": {"quant_method": method, **settings}}


def of_layer(stored: Tensors, layer: str = LAYER) -> Tensors:
    return {f"{layer}.{leaf}": tensor for leaf, tensor in stored.items()}


def dequantised(
    folder: Path, tensors: Tensors, entry: Mapping[str, Any] | None = None, *, gptq: bool = False
) -> Dequantised:
    save(folder, tensors, config=entry)
    return dequantise(read_checkpoint(folder), allow_gptq=gptq)


def by_name(result: Dequantised) -> dict[str, StoredSource]:
    return {source.name: source for source in result.sources}


def the_weight(result: Dequantised, layer: str = LAYER) -> StoredSource:
    """The decoded weight, described rightly and with nothing left of its companions."""
    (source,) = result.sources
    values = source.read()
    assert source.name == f"{layer}.weight"
    assert source.shape == tuple(values.shape)
    assert values.dtype == numpy_dtype(source.dtype) and source.dtype in ("BF16", "F16")
    return source
