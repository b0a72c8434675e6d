"""Products of float32 by torch that are those of float32: neither TF32 nor bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def full_float32() -> Iterator[None]:
    """Have torch multiply float32 as float32 for a while; what was set before comes back."""
    import torch

    legacy, places = _legacy(), [torch.backends.cuda.matmul]
    places += [place for place in [getattr(torch.backends.mkldnn, "matmul", None)] if place]
    newer = [place for place in places if hasattr(place, "fp32_precision")]  # since torch 2.9
    before = [place.fp32_precision for place in newer]
    torch.set_float32_matmul_precision("highest")  # sets the newer ones too
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(legacy)
        for place, value in zip(newer, before, strict=True):
            if place.fp32_precision != value:
                place.fp32_precision = value


def _legacy() -> str:
    """Return the setting for all libraries; what it is at the start where torch will not say,
    because each library has been given its own."""
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "highest"


_ROUNDED = 2.0**-13
"""Relative error of the square of 1 + 2^-12: 2^-11 where TF32 has left 2^-12 out, and some 2^-22
in float32."""


@cache
def rounds_products(device: str) -> bool:
    """Return whether float32 products are rounded to TF32 or less whatever torch is told, as with
    NVIDIA_TF32_OVERRIDE=1."""
    import torch

    values = torch.full((128, 128), 1.0 + 2.0**-12, dtype=torch.float32, device=device)
    found = float((values.T @ values)[0, 0])
    return abs(found / (128 * (1.0 + 2.0**-12) ** 2) - 1.0) > _ROUNDED
