"""The training loop of every row, and the losses before and after it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from spectrum_tui.core.proof.rows import Bytes, Conditions, Row
from spectrum_tui.proving.batches import (
    NOT_LEARNED,
    Kind,
    Tokens,
    endless,
    in_batches,
    learned,
    tensors,
)
from spectrum_tui.proving.loading import Loaded
from spectrum_tui.proving.machine import Machine
from spectrum_tui.proving.measure import Peaks, static_bytes


class NotFiniteError(Exception):
    """A loss that is no number any more, at a step (0 where it is judged)."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(slots=True)
class Trained:
    """What a training has come to so far."""

    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    memory: Bytes | None = None

    @property
    def step_seconds(self) -> float:
        """The median of the steps; the first one, in which everything is made, only where there
        is no other."""
        return statistics.median(self.seconds[1:] or self.seconds or [0.0])


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains a model, in one process or in several."""

    loaded: Loaded
    machine: Machine
    conditions: Conditions
    padding: int

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Those that train, adapters that are switched off for now among them."""
        if self.loaded.follower is not None:
            return self.loaded.follower.parameters
        return [p for p in self.loaded.model.parameters() if p.requires_grad]

    def judge(self, sequences: Sequence[Tokens]) -> float:
        """Return the mean loss in nats per learned token; raises NotFiniteError."""
        model = self.loaded.model
        _judging(model)
        total = 0.0
        with torch.no_grad():
            for batch in in_batches(sequences, self.conditions.batch):
                if own := self.machine.share(batch):
                    total += self._summed(own).item()
        mean = self.machine.total(total) / learned(self.loaded.kind, sequences)
        if not math.isfinite(mean):
            raise NotFiniteError(0)
        return mean

    def train(
        self,
        row: Row,
        sequences: Sequence[Tokens],
        peaks: Peaks,
        so_far: Trained,
        tell: Callable[[int, float], None],
    ) -> None:
        """Train for the steps of a row, what came of it in `so_far`, also where it ends before;
        raises NotFiniteError."""
        model, conditions = self.loaded.model, self.conditions
        parameters = self.parameters
        optimizer = torch.optim.AdamW(parameters, lr=row.rate, weight_decay=conditions.weight_decay)
        model.train()
        batches = endless(sequences, conditions.batch)
        for step in range(1, row.steps + 1):
            begin = time.perf_counter()
            batch = next(batches)
            loss = self._backward(batch)
            if not math.isfinite(loss):
                raise NotFiniteError(step)
            self.machine.add_gradients(p for p in parameters if p.requires_grad)
            rate = row.rate * share_of_rate(step, row.steps, conditions.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            if step == 1:
                static = static_bytes(model, optimizer)
            optimizer.zero_grad(set_to_none=True)
            if self.loaded.follower is not None:
                self.loaded.follower.end_step(step, optimizer)
            so_far.memory = peaks.beside(static)
            so_far.seconds.append(time.perf_counter() - begin)
            so_far.tokens += sum(len(one.inputs) for one in batch)
            so_far.curve.append((step, loss))
            tell(step, loss)

    def _backward(self, batch: Sequence[Tokens]) -> float:
        """Make the gradients of a batch's mean loss, of which every process has its share;
        returns the mean."""
        own = self.machine.share(batch)
        loss = self._summed(own) / learned(self.loaded.kind, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return self.machine.total(loss.item())

    def _summed(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        loaded = self.loaded
        batch = tensors(sequences, self.padding, self.machine.device)
        return summed_loss(loaded.model, loaded.kind, batch)


def _judging(model: torch.nn.Module) -> None:
    """Have a model judge. Its 4-bit layers stay as they train: out of training, bitsandbytes packs
    them anew on CPUs with AVX512-BF16, and no gradient comes through them from then on."""
    model.eval()
    for module in model.modules():
        if getattr(getattr(module, "weight", None), "quant_state", None) is not None:
            module.training = True


def summed_loss(
    model: Callable[..., Any], kind: Kind, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Return the sum of the losses of all learned tokens, in float32 at the least."""
    inputs = dict(batch)
    labels = inputs.pop("labels")
    if kind == "seq2seq":
        inputs["labels"] = labels  # from which the model makes what its decoder reads
    logits = model(**inputs).logits
    if kind == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits = logits.flatten(0, 1)
    return cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        labels.flatten(),
        ignore_index=NOT_LEARNED,
        reduction="sum",
    )


def share_of_rate(step: int, steps: int, warmup: float) -> float:
    """Return the share of the rate in a step, counted from 1: it rises to 1 in the first `warmup`
    of the steps, and falls in a line, to 0 after the last step.

    >>> [share_of_rate(step, 10, 0.2) for step in (1, 2, 3, 6, 10)]
    [0.5, 1.0, 1.0, 0.625, 0.125]
    """
    rising = round(warmup * steps)
    if step <= rising:
        return step / rising
    return (steps - step + 1) / (steps - rising)
