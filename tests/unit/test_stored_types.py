"""Stored types between numpy and torch, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.stored_types import (
    _NUMPY_TYPES,
    as_numpy,
    as_torch,
    numpy_dtype,
    torch_dtype,
)

NAMES = tuple(_NUMPY_TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_every_type_is_the_same_memory_on_both_sides(name: str) -> None:
    bits = np.arange(64, dtype=np.uint8)
    bits = bits % 2 if name == "BOOL" else bits
    array = bits.view(numpy_dtype(name)).reshape(2, -1)
    tensor = as_torch(array)
    assert tensor.dtype is torch_dtype(name)
    assert tensor.shape == array.shape
    assert tensor.data_ptr() == array.ctypes.data
    back = as_numpy(tensor)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    turned = as_numpy(tensor.T)
    assert turned.tobytes() == np.ascontiguousarray(array.T).tobytes()


@pytest.mark.parametrize("name", ["BF16", "F16", "F8_E4M3", "F8_E5M2"])
def test_widened_values_are_those_of_torch(name: str) -> None:
    array = np.arange(256, dtype=np.uint8)
    if numpy_dtype(name).itemsize == 2:
        array = np.arange(2**16, dtype=np.uint16)
    values = array.view(numpy_dtype(name))
    ours, theirs = values.astype(np.float32), as_torch(values).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


def test_rounding_to_bfloat16_is_that_of_torch() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    with np.errstate(over="ignore"):
        values = np.concatenate((values, values * 1e38, values * 1e-39, [np.inf, -np.inf]))
    ours = values.astype(np.float32).astype(numpy_dtype("BF16"))
    assert torch.equal(as_torch(ours), torch.from_numpy(values.astype(np.float32)).bfloat16())


def test_a_number_without_dimensions() -> None:
    assert as_torch(np.array(7.0, numpy_dtype("BF16"))).item() == 7.0


def test_an_unknown_type_is_an_error_of_the_model() -> None:
    for dtype_of in (numpy_dtype, torch_dtype):
        with pytest.raises(CheckpointError, match="F6_E2M3"):
            dtype_of("F6_E2M3")
