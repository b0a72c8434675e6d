"""From a job to its outcome: texts to tokens, the model, losses before, the training, losses
after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.kept_examples import read_examples
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.rows import Conditions, Job, Losses, Outcome, Progress
from spectrum_tui.proving.batches import Encoder, Tokens, drawn
from spectrum_tui.proving.ends import ended
from spectrum_tui.proving.loading import load_row, load_tokenizer
from spectrum_tui.proving.loop import Trained, Trainer
from spectrum_tui.proving.machine import Machine, make_repeatable
from spectrum_tui.proving.measure import Peaks, trainable, trained_dtypes
from spectrum_tui.proving.untrained import Untrained

JUDGED_SEED = 0
"""By which the sequences that losses are measured on are drawn: the same for all rows."""


class Training:
    """The work of one row; `outcome` is what is known of it at any time."""

    def __init__(self, job: Job, tell: Callable[[Progress], None]) -> None:
        self._job = job
        self._tell = tell
        self._trained = Trained()
        self._parameters = 0
        self._losses: list[Losses] = []
        self._dtype = self._device = ""
        self._density = 0.0
        self.shared_seconds = 0.0
        """What the losses before took, which other rows may share."""

    def run(self) -> None:
        """Do all of it; raises SpectrumError, NotFiniteError, and what torch raises."""
        conditions, row = self._job.conditions, self._job.row
        make_repeatable(row.seed)
        machine = Machine(conditions)
        self._device = machine.name
        tokenizer = load_tokenizer(conditions)
        peaks = Peaks(machine.device)
        loaded = load_row(conditions, row, machine.device, machine.dtype(conditions.dtype))
        self._parameters = trainable(loaded.model)
        self._dtype = trained_dtypes(loaded.model)
        encoder = Encoder(tokenizer, loaded.kind, check_length(loaded.model, conditions.sequence))
        trainer = Trainer(loaded, machine, conditions, encoder.padding)
        text, *others = _texts(conditions)
        train = drawn(encoder, text, row.steps * conditions.batch, row.seed)
        judged = [drawn(encoder, one, conditions.judged, JUDGED_SEED) for one in others]
        self._density = encoder.density
        check_vocabulary(loaded.model, [*train, *chain(*judged)])
        self._judge_untrained(trainer, judged)
        peaks.begin()
        torch.manual_seed(row.seed)  # of dropout, whatever loading the model has drawn
        trainer.train(row, train, peaks, self._trained, self._step)
        self._judge(trainer, judged)

    def _judge_untrained(self, trainer: Trainer, judged: list[list[Tokens]]) -> None:
        begin = time.perf_counter()
        computes = {"device": self._device, "dtype": self._dtype, **versions()}
        untrained = Untrained(self._job, trainer.loaded.model, computes)
        if (known := untrained.read()) is not None:
            self._say("judging", 0)
            self._losses.append(known)
        else:
            self._judge(trainer, judged)
            untrained.keep(self._losses[0])
        self.shared_seconds = time.perf_counter() - begin

    def _judge(self, trainer: Trainer, judged: list[list[Tokens]]) -> None:
        self._say("judging", len(self._trained.curve))
        held_out, *kept = map(trainer.judge, judged)
        self._losses.append(Losses(held_out=held_out, kept=kept[0] if kept else None))

    def _step(self, step: int, loss: float) -> None:
        self._say("training", step, loss)

    def _say(self, doing: str, step: int, loss: float = math.nan) -> None:
        self._tell(Progress(doing=doing, step=step, steps=self._job.row.steps, loss=loss))

    def outcome(self) -> Outcome:
        """Return what has come of the row so far."""
        row, trained = self._job.row, self._trained
        before, after = (*self._losses, None, None)[:2]
        return replace(
            ended(row),
            before=before,
            after=after,
            curve=tuple(trained.curve),
            trained=self._parameters,
            memory=trained.memory,
            tokens=trained.tokens,
            density=self._density,
            step_seconds=trained.step_seconds,
            dtype=self._dtype,
            device=self._device,
            versions=versions(),
        )


def _texts(conditions: Conditions) -> list[tuple[Example, ...]]:
    """Return the examples to train on, the held-out ones, and those to keep where there are any;
    raises DataError."""
    files = filter(None, (conditions.train, conditions.held_out, conditions.kept))
    return [
        read_examples(Path(file), digest)
        for file, digest in zip(files, conditions.digests, strict=True)
    ]


def check_length(model: Any, sequence: int) -> int:
    """Return how long sequences are; raises InputError where the model takes no such ones."""
    most = getattr(model.config, "max_position_embeddings", None)
    if isinstance(most, int) and 0 < most < sequence:
        raise InputError(
            f"The model takes {counted(most, 'token')} at the most, not {sequence}.",
            f"Give --sequence {most}.",
            field="sequence",
        )
    return sequence


def check_vocabulary(model: Any, sequences: list[Tokens]) -> None:
    """Raise InputError where the text has tokens that the model does not know: on a GPU, that ends
    in an error that names neither."""
    known = model.get_input_embeddings().weight.shape[0]
    highest = max(max(*one.inputs, *one.labels) for one in sequences)
    if highest >= known:
        raise InputError(
            f"The tokenizer has a token {highest:,}, the model only {known:,}: it is not its own.",
            "Put the tokenizer beside the weights that they were trained with.",
            field="model",
        )


def versions() -> dict[str, str]:
    """Return what computes here, by which figures are repeated."""
    import transformers

    return {
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "threads": str(torch.get_num_threads()),
    }
