"""What the rows of a method come to over their seeds: what the table, plot and verdict show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from spectrum_tui.core.proof.rows import DIVERGED, Bytes, Losses, Outcome
from spectrum_tui.core.proof.statistics import Spread, spread_of

MOST_LOSS = 1e6
"""In nats per token; more is no loss of a model that works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A method over the seeds that came to an end: `held_out` and `kept` are the losses by seed
    (empty where no text is kept), `before` those of the untrained model.

    Sizes are the largest of all seeds, times their median; `failed` are the rows without a loss,
    the trials included where no row has one.
    """

    method: str
    held_out: dict[int, float]
    kept: dict[int, float]
    before: float
    kept_before: float
    rate: float
    trained: int
    memory: Bytes | None
    tokens: int
    step_seconds: float
    seconds: float
    failed: tuple[Outcome, ...]

    @property
    def loss(self) -> Spread:
        """On the held-out text, over seeds."""
        return spread_of(list(self.held_out.values()))

    @property
    def kept_loss(self) -> Spread:
        """On the text to keep, over seeds."""
        return spread_of(list(self.kept.values()))

    @property
    def peak(self) -> int:
        """Bytes at the most: of the device, or of the process where that is the device."""
        if self.memory is None:
            return 0
        return self.memory.peak_device or self.memory.peak_process


def ended(outcome: Outcome) -> bool:
    """Return whether a row came to a loss that is one."""
    return not outcome.error and outcome.after is not None and _is_loss(outcome.after.held_out)


def why_not(outcome: Outcome) -> str:
    """Return in a few words why a row has no loss."""
    return outcome.error or DIVERGED


def _is_loss(value: float) -> bool:
    return abs(value) < MOST_LOSS


def summaries(outcomes: Iterable[Outcome], methods: Sequence[str]) -> tuple[Summary, ...]:
    """Return what every method came to, in the order of `methods`; those without any outcome are
    left out."""
    by_method: dict[str, list[Outcome]] = {method: [] for method in methods}
    for outcome in outcomes:
        by_method.get(outcome.method, []).append(outcome)
    return tuple(_summary(method, each) for method, each in by_method.items() if each)


def _summary(method: str, outcomes: Sequence[Outcome]) -> Summary:
    rows = [one for one in outcomes if not one.trial]
    done = [one for one in rows if ended(one)]
    after = {one.seed: one.after for one in done if one.after}
    first = next((one.before for one in done if one.before), None)
    return Summary(
        method=method,
        held_out={seed: losses.held_out for seed, losses in sorted(after.items())},
        kept={
            seed: _kept(losses)
            for seed, losses in sorted(after.items())
            if not math.isnan(_kept(losses))
        },
        before=first.held_out if first and _is_loss(first.held_out) else math.nan,
        kept_before=_kept(first) if first else math.nan,
        rate=done[0].rate if done else math.nan,
        trained=max((one.trained for one in done), default=0),
        memory=_largest([one.memory for one in done if one.memory]),
        tokens=max((one.tokens for one in done), default=0),
        step_seconds=_median([one.step_seconds for one in done]),
        seconds=_median([one.seconds for one in done]),
        failed=tuple(one for one in (rows or outcomes) if not ended(one)),
    )


def _kept(losses: Losses) -> float:
    return losses.kept if losses.kept is not None and _is_loss(losses.kept) else math.nan


def _largest(found: Sequence[Bytes]) -> Bytes | None:
    if not found:
        return None
    return Bytes(
        weights=max(one.weights for one in found),
        gradients=max(one.gradients for one in found),
        optimizer=max(one.optimizer for one in found),
        peak_device=max(one.peak_device for one in found),
        peak_process=max(one.peak_process for one in found),
    )


def _median(values: Sequence[float]) -> float:
    return median(values) if values else math.nan
