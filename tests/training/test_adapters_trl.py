"""Adapters that follow the scores in TRL's trainer, which makes them itself, with checkpointing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("datasets")
pytest.importorskip("peft")

import datasets
import trl
from peft import LoraConfig

from spectrum_tui.adapters import SpectrumAdapters
from spectrum_tui.core.training.live_adapters import live_adapters
from tests.training.adapter_runs import lines, ranks
from tests.training.runs import arguments, build, rows, tokenizer


def trained(folder: Path, reentrant: bool | None) -> Any:
    """The trainer, with checkpointing of one kind, or without."""
    settings: dict[str, Any] = {"gradient_checkpointing": reentrant is not None}
    if reentrant is not None:
        settings["gradient_checkpointing_kwargs"] = {"use_reentrant": reentrant}
    callback = SpectrumAdapters(every=5, top_percent=50, high_rank=6, metric="gradient")
    trainer = trl.SFTTrainer(
        model=build("llama"),
        args=trl.SFTConfig(**arguments(folder, learning_rate=1e-2, bf16=False, **settings)),
        train_dataset=datasets.Dataset.from_list([{"input_ids": r["input_ids"]} for r in rows()]),
        processing_class=tokenizer(),
        peft_config=LoraConfig(r=3, lora_alpha=6, target_modules="all-linear"),
        callbacks=[callback],
    )
    trainer.train()
    return trainer


def test_what_is_chosen_trains_with_and_without_checkpointing(tmp_path: Path) -> None:
    """What is watched is the same, however often a block's forward pass runs."""
    seen = []
    for reentrant in (None, False, True):
        folder = tmp_path / str(reentrant)
        trainer = trained(folder, reentrant)
        found = lines(folder)
        assert [line["step"] for line in found] == [0, 5, 10, 15, 20]
        assert found[-1]["ranks"] == {
            one.layer: one.rank if one.trains else 0 for one in live_adapters(trainer.model)
        }
        assert not any(line["failed"] for line in found)
        assert {6} <= set(ranks(trainer.model).values()) <= {3, 6}
        seen.append([line["scores"] for line in found])
    for scores in seen[1:]:
        for these, plain in zip(scores, seen[0], strict=True):
            assert these == pytest.approx(plain, rel=1e-3)
