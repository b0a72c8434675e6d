"""The adapters of a row that change while it trains."""

from __future__ import annotations

from typing import Any

import torch

from spectrum_tui.core.adapters.following import Following
from spectrum_tui.core.adapters.processes import agreed
from spectrum_tui.core.adapters.tiers import Ranks, RankTiers
from spectrum_tui.core.errors import SpectrumError

CHOICES = 10
"""How many times a row chooses, the first time before it trains: rows are short beside the steps
between two choices in a training."""


class Follower:
    """Chooses adapters by the weights, as `SpectrumAdapters` does in other trainings.

    `parameters` are those of all adapters and whatever else trains: what an optimizer must hold.
    Raises SpectrumError for a model that has none, and where no adapter would train.
    """

    def __init__(self, model: Any, tiers: RankTiers, metric: str, *, steps: int, seed: int) -> None:
        self.parameters: list[torch.nn.Parameter] = [
            p for p in model.parameters() if p.requires_grad
        ]
        self._following = Following(model, name="", seed=seed)
        self._tiers, self._metric = tiers, metric
        self._every = max(1, steps // CHOICES)
        self._last = steps
        self._choose(0, None)

    def end_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Choose anew where it is time; all stays as it is where that cannot be done."""
        if step % self._every == 0 and step < self._last:
            try:
                self._choose(step, optimizer)
            except SpectrumError:
                return

    def _choose(self, step: int, optimizer: torch.optim.Optimizer | None) -> None:
        def decide() -> Ranks:
            result = self._following.measured(self._metric)
            return self._tiers.ranks(result, self._following.ranks)

        self._following.apply(agreed(decide), optimizer, step)
