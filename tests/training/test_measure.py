"""What is counted as memory, against sums made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spectrum_tui.core.proof.rows import Bytes
from spectrum_tui.proving.measure import (
    Peaks,
    gradient_bytes,
    optimizer_bytes,
    parameter_bytes,
    static_bytes,
    trainable,
)


def stepped(dtype: torch.dtype) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Two layers of 8 x 8, one of them frozen, after a backward pass and a step."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).to(dtype)
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    model(torch.ones(1, 8, dtype=dtype)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_adamw(dtype: torch.dtype, width: int) -> None:
    model, optimizer = stepped(dtype)
    steps = 2 * 4  # a float32 for each parameter
    wanted = Bytes(weights=2 * 72 * width, gradients=72 * width, optimizer=2 * 72 * width + steps)
    assert static_bytes(model, optimizer) == wanted
    assert trainable(model) == 72
    optimizer.zero_grad()
    assert gradient_bytes(model) == 0


def test_tied_parameters_count_once() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight
    assert parameter_bytes(model) == 64 * 4
    assert trainable(model) == 64


def test_quantised_weights_and_8_bit_states() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(256, 256, bias=False, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(torch.randn(256, 256), False, quant_type="nf4")
    layer.to("cpu")
    packed, blocks, code = 256 * 256 // 2, 256 * 256 // 64, 16 * 4
    of_blocks = 4 * blocks // 256 + 256 * 4 + 4  # quantised once more: scales, code, offset
    assert parameter_bytes(layer) == packed + blocks + code + of_blocks
    weight = nn.Parameter(torch.randn(64, 256))
    weight.grad = torch.randn(64, 256)
    optimizer = bitsandbytes.optim.AdamW8bit([weight])
    optimizer.step()
    numel = 64 * 256
    moments, blocks, maps = 2 * numel, 2 * 4 * numel // 256, 2 * 256 * 4
    assert optimizer_bytes(optimizer) == pytest.approx(moments + blocks + maps, abs=16)


def test_peaks_begin_where_they_are_told_to() -> None:
    peaks = Peaks(torch.device("cpu"))
    kept = torch.ones(2**22)
    torch.ones(2**24).sum()
    nothing = Bytes(weights=1, gradients=2, optimizer=3)
    loading = peaks.beside(nothing).peak_process
    peaks.begin()
    torch.ones(2**23).sum()
    training = peaks.beside(nothing)
    if loading:  # Linux
        assert loading > 4 * (2**24 + 2**22) * 0.9
        assert 4 * (2**23 + 2**22) * 0.9 < training.peak_process < loading * 0.9
    assert (training.weights, training.gradients, training.optimizer) == (1, 2, 3)
    assert kept.numel()
