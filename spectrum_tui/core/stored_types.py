"""The types that checkpoints store numbers in, as numpy and torch call them.

numpy has no bfloat16 and no 8-bit floating point of its own: those are ml_dtypes' here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from spectrum_tui.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)

_NUMPY_TYPES: dict[str, Any] = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16,
    "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64,
    "F16": np.float16, "BF16": BFLOAT16, "F32": np.float32, "F64": np.float64, "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
"""By the names of safetensors."""


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy type of a stored type; raises CheckpointError for one that nobody reads."""
    if name not in _NUMPY_TYPES:
        raise _unread(name)
    found: np.dtype[Any] = np.dtype(_NUMPY_TYPES[name])
    return found


@cache
def torch_dtype(name: str) -> torch.dtype:
    """Return the torch type of a stored type; raises CheckpointError where this torch has none."""
    import torch

    found = getattr(torch, numpy_dtype(name).name.replace("bool_", "bool"), None)
    if not isinstance(found, torch.dtype):
        raise _unread(name)
    return found


def _unread(name: str) -> CheckpointError:
    return CheckpointError(
        f"Tensors stored as {name} cannot be read.",
        "Scan the full-precision model that it was made from.",
        field="model",
    )


def as_torch(array: Array) -> torch.Tensor:
    """Return a tensor with the memory of an array."""
    import torch

    if array.dtype.kind in "biufc" and array.dtype.isbuiltin == 1:
        return torch.from_numpy(array)
    same_size = {1: np.uint8, 2: np.int16}[array.dtype.itemsize]
    return torch.from_numpy(array.view(same_size)).view(getattr(torch, array.dtype.name))


def as_numpy(tensor: torch.Tensor) -> Array:
    """Return an array with the memory of a tensor on the CPU."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    own = getattr(ml_dtypes, name, None)
    if own is None or not tensor.is_floating_point():
        array: Array = tensor.detach().numpy()
        return array
    same_size = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
    stored: Array = tensor.detach().view(same_size).numpy()
    return stored.view(own)
