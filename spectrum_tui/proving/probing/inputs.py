"""What a probe computes on: batches, made when they are needed, and their loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.probing.records import ProbeJob
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.proving.batches import Encoder, drawn, in_batches, learned, tensors
from spectrum_tui.proving.loading import kind_of, load_tokenizer
from spectrum_tui.proving.loop import summed_loss
from spectrum_tui.proving.probing.measuring import Batch, Loss
from spectrum_tui.proving.training import check_length, check_vocabulary

SEED = 0
"""By which the data are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What batches are made of, in which type, and where."""

    job: ProbeJob
    conditions: Conditions
    examples: Sequence[Example]
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Batches and their loss; `amount` of a `unit` in all. A batch has `tokens` places at the most
    that the blocks compute, and `before` values are kept of what comes before the blocks."""

    batches: Sequence[Batch]
    loss: Loss
    amount: int
    unit: str
    tokens: int
    before: int = 0
    notes: tuple[str, ...] = ()


class Made(Sequence[Batch]):
    """Batches that are made whenever one is asked for: pictures and sound take much memory."""

    def __init__(self, groups: Sequence[Any], make: Callable[[Any], Batch]) -> None:
        self._groups = groups
        self._make = make

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, at: int) -> Batch: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...

    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        """Make one."""
        if isinstance(at, slice):
            return Made(self._groups[at], self._make)
        return self._make(self._groups[at])


def own_loss(called: Callable[..., Any], batch: Batch) -> torch.Tensor:
    """Return the loss of the model's own class."""
    loss: torch.Tensor = called(**batch).loss
    return loss


def some_of(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most `count` examples, drawn with a seed."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(SEED)).tolist()
    return [examples[at] for at in order[:count]]


def fewer(batches: int, wanted: int) -> tuple[str, ...]:
    """Return a note where there are fewer batches than were asked for."""
    few = f"the data is enough for {counted(batches, 'batch', 'batches')}"
    return (few,) if batches < wanted else ()


def of_text(data: Data, model: Any) -> Inputs:
    """Return batches of texts; raises InputError, CheckpointError."""
    kind = kind_of(model)
    encoder = Encoder(load_tokenizer(data.conditions), kind, check_length(model, data.job.sequence))
    sequences = drawn(encoder, data.examples, data.job.batches * data.job.batch, SEED)
    check_vocabulary(model, sequences)
    groups = list(in_batches(sequences, data.job.batch))
    batches = [tensors(group, encoder.padding, data.device) for group in groups]
    counts = {id(b): learned(kind, group) for b, group in zip(batches, groups, strict=True)}

    def loss(called: Callable[..., Any], batch: Batch) -> torch.Tensor:
        return summed_loss(called, kind, batch) / counts[id(batch)]

    return Inputs(
        batches=batches,
        loss=loss,
        amount=sum(len(one.inputs) for one in sequences),
        unit="tokens",
        tokens=max(batch["input_ids"].numel() for batch in batches),
        notes=fewer(len(batches), data.job.batches),
    )
