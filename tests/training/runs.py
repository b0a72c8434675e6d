"""Short real trainings of tiny models, and what they changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests.architectures.tiny import ARCHITECTURES

STEPS = 20
LENGTH = 12


def build(name: str) -> Any:
    """A tiny model with dropout off, so that every step is the same on every machine."""
    return ARCHITECTURES[name].build()


def rows(count: int = 40) -> list[dict[str, list[int]]]:
    """Made-up texts in which every token of the vocabulary (96) occurs, so that every row of the
    embeddings has a gradient."""
    generator = torch.Generator().manual_seed(0)
    order = torch.cat([torch.randperm(96, generator=generator) for _ in range(5)])
    texts = order[: count * LENGTH].view(count, LENGTH).tolist()
    return [{"input_ids": text, "labels": text} for text in texts]


def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Texts of one length as tensors."""
    return {key: torch.tensor([row[key] for row in batch]) for key in batch[0]}


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    """The trainer's options: weight decay on, which must not move what is frozen."""
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
        **options,
    }


def trained(model: Any, folder: Path, **options: Any) -> Any:
    """The trainer after training with transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    callbacks = options.pop("callbacks", [])
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(folder, **options)),
        train_dataset=rows(),
        data_collator=collate,
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def copied(model: Any) -> dict[str, torch.Tensor]:
    """Every parameter as it is now."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    """The parameters of which any bit is another one."""
    now = dict(model.named_parameters())
    assert now.keys() == before.keys()
    return {name for name in now if not same_bits(now[name].detach(), before[name])}


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit: +0 and -0 differ, NaN equals itself."""
    return a.dtype == b.dtype and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )


def recipe(result: Result, percent: int, *, embeddings: bool) -> str:
    """The YAML, "" where the percentage selects nothing."""
    try:
        return SpectrumYaml(Selection(result)).text(Policy(percent=percent, embeddings=embeddings))
    except SelectionError:
        return ""


def tokenizer() -> Any:
    """A tokenizer of 96 words: the trainer wants one, the rows are tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(96)}
    whole = Tokenizer(models.WordLevel(words, unk_token="w0"))
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, unk_token="w0", pad_token="w1", eos_token="w2"
    )
