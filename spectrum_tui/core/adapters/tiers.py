"""From the scores of layers to the ranks that their adapters should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spectrum_tui.core.errors import InputError, SelectionError
from spectrum_tui.core.numbers import is_whole
from spectrum_tui.core.recipes.choice import usual_medium_end
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection

Ranks = Mapping[str, int]
"""{layer: the rank of its adapter, 0 for one that does not train}"""
MOST = 4096
"""The largest rank that is taken: as many as a layer of a model of 7 billion has rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTiers:
    """Which layers train, by which rank: those that the policy takes by `high_rank`, those from
    there to `medium_percent` by `medium_rank`, and no other. Without a rank an adapter keeps its
    own."""

    policy: Policy
    high_rank: int | None = None
    medium_percent: float | None = None
    medium_rank: int | None = None

    def __post_init__(self) -> None:
        for name, rank in (("high_rank", self.high_rank), ("medium_rank", self.medium_rank)):
            if rank is not None and not (is_whole(rank) and 1 <= rank <= MOST):
                raise InputError(f"{name}={rank!r} is no rank.", f"Give 1 to {MOST:,}.", field=name)
        if self.medium_rank is not None and self.high_rank is None:
            raise InputError("medium_rank is given without high_rank.", "Give both ranks.")
        if self.policy.budget is not None:
            raise InputError("A budget cannot be followed here.", "Give a percentage.")
        if self._end < self.policy.percent:
            raise InputError(
                f"The medium tier would end at {self._end:g} %, before the high one at "
                f"{self.policy.percent:g} %.",
                "Give a larger medium_percent.",
                field="medium_percent",
            )

    @property
    def _has_medium(self) -> bool:
        return self.medium_rank is not None or self.medium_percent is not None

    @property
    def _end(self) -> float:
        """Where the last tier ends."""
        percent = self.policy.percent
        if not self._has_medium:
            return percent
        if self.medium_percent is not None:
            return self.medium_percent
        return usual_medium_end(percent)

    def ranks(self, result: Result, now: Ranks) -> Ranks:
        """Return the ranks by these scores, where `now` has those of the adapters as they are.

        Raises SelectionError where no layer would train.
        """
        selection = Selection(result)
        selection.check_blocks(self.policy)
        high = selection.mask(self.policy)
        medium = selection.mask(replace(self.policy, percent=self._end)) & ~high
        if not np.any(high | medium):
            raise self._nothing(selection)
        wanted = np.where(high, self.high_rank or -1, np.where(medium, self.medium_rank or -1, 0))
        chosen = zip(result.scores.layers, wanted.tolist(), strict=True)
        return {layer: now[layer] if rank < 0 else rank for layer, rank in chosen}

    def _nothing(self, selection: Selection) -> SelectionError:
        least = selection.smallest_percent(self.policy)
        hint = f"The smallest percentage that selects one is {least:g} %." if least <= 100 else ""
        return SelectionError("No adapter would train.", hint, field="top_percent")
