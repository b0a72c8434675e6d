"""What a model is while losses are judged."""

from __future__ import annotations

import torch

from spectrum_tui.proving.loop import _judging


def test_all_but_layers_in_4_bits_leave_training() -> None:
    plain, packed = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    packed.weight.quant_state = object()  # type: ignore[attr-defined]
    model = torch.nn.Sequential(plain, torch.nn.Dropout(), packed).train()
    _judging(model)
    assert [part.training for part in model] == [False, False, True]
    assert not model.training
