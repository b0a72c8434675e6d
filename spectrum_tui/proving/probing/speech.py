"""Batches of recordings with what is said in them, for models that spell it (CTC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.errors import CheckpointError, DataError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.proving.batches import NOT_LEARNED, in_batches
from spectrum_tui.proving.loading import load_part, load_tokenizer
from spectrum_tui.proving.probing.inputs import Data, Inputs, Made, fewer, own_loss, some_of
from spectrum_tui.proving.probing.measuring import Batch
from spectrum_tui.proving.probing.sound import Samples, samples_of

LONGEST = 30.0
"""Seconds of a recording; its text cannot be cut with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A recording, and the letters that are said in it."""

    samples: Samples
    letters: list[int]


def of_speech(data: Data, model: Any) -> Inputs:
    """Return batches of recordings; raises DataError, CheckpointError."""
    extractor, tokenizer = _extractor(data.conditions), load_tokenizer(data.conditions)
    rate = int(extractor.sampling_rate)
    every = [
        _said(one, rate, tokenizer)
        for one in some_of(data.examples, data.job.batches * data.job.batch)
    ]
    chosen = [one for one in every if _is_learned(model, one, rate)]
    if not chosen:
        raise DataError(
            "No recording is of the length of its text.",
            f"Give some of at most {LONGEST:g} s, with what is said in them.",
            field="data",
        )
    _check_letters(model, chosen)

    def made(group: Sequence[Said]) -> Batch:
        sound = [one.samples for one in group]
        found = extractor(sound, sampling_rate=rate, padding=True, return_tensors="pt")
        batch = {name: _placed(one, data.device, data.dtype) for name, one in found.items()}
        return {**batch, "labels": _labels(group).to(data.device)}

    batches = Made(list(in_batches(chosen, data.job.batch)), made)
    most = max(len(one.samples) for one in chosen) * min(data.job.batch, len(chosen))
    places, before = _places(model, most)
    notes = _left_out(len(every) - len(chosen)) + fewer(len(batches), data.job.batches)
    return Inputs(
        batches=batches,
        loss=own_loss,
        amount=len(chosen),
        unit="recordings",
        tokens=places,
        before=before,
        notes=notes,
    )


def _said(example: Example, rate: int, tokenizer: Any) -> Said:
    """Return a recording with its letters, in the case that the model knows more of."""
    cases = dict.fromkeys((example.text, example.text.upper(), example.text.lower()))
    spelled = [list(tokenizer(text).input_ids) for text in cases]
    letters = min(spelled, key=lambda ids: ids.count(tokenizer.unk_token_id))
    return Said(samples_of(Path(example.file), rate), letters)


def _is_learned(model: Any, said: Said, rate: int) -> bool:
    """Return whether a recording has a place for each letter, with a blank between equal ones, and
    is not too long."""
    if not said.letters or len(said.samples) > LONGEST * rate:
        return False
    length = model._get_feat_extract_output_lengths(torch.tensor(len(said.samples)))
    return int(length) >= len(said.letters) + sum(a == b for a, b in pairwise(said.letters))


def _check_letters(model: Any, chosen: Sequence[Said]) -> None:
    highest, known = max(max(one.letters) for one in chosen), model.config.vocab_size
    if highest >= known:
        raise CheckpointError(
            f"The tokenizer has a letter {highest:,}, the model only {known:,}: it is not its own.",
            "Put the tokenizer beside the weights that they were trained with.",
            field="model",
        )


def _labels(group: Sequence[Said]) -> torch.Tensor:
    width = max(len(one.letters) for one in group)
    return torch.tensor([one.letters + [NOT_LEARNED] * (width - len(one.letters)) for one in group])


def _placed(values: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return values.to(device, dtype) if values.is_floating_point() else values.to(device)


def _places(model: Any, samples: int) -> tuple[int, int]:
    """Return the places of the blocks for so many samples, and the values that the convolutions
    before them make."""
    length, values = samples, 0
    config = model.config
    for stride, width in zip(
        getattr(config, "conv_stride", ()), getattr(config, "conv_dim", ()), strict=False
    ):
        length = max(1, length // stride)
        values += length * width
    return (length if values else max(1, samples // 320)), values


def _left_out(count: int) -> tuple[str, ...]:
    said = counted(count, "recording is", "recordings are")
    return (f"{said} too long, or too short for the text: left out",) if count else ()


def _extractor(conditions: Conditions) -> Any:
    hint = "Put its preprocessor_config.json beside the weights."
    return load_part(conditions, "AutoFeatureExtractor", "feature extractor", hint)
