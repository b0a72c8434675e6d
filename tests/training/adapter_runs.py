"""Tiny models with adapters on every layer that can have one, and short trainings of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from spectrum_tui.core.saved.steps import ADAPTER_LINES
from spectrum_tui.core.training.live_adapters import LiveAdapter, live_adapters
from tests.training.peft_models import adaptable
from tests.training.runs import arguments, build, collate, rows

RANK, SCALE = 4, 2.0


def quantised(model: Any, folder: Path, skip: list[str]) -> Any:
    """The same model in 4 bits, but for the modules to skip."""
    import transformers

    model.save_pretrained(folder)
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["lm_head", "classifier", *skip],
    )
    return type(model).from_pretrained(folder, quantization_config=settings)


def adapted(
    name: str, folder: Path, *, four_bit: bool = False, skip: Sequence[str] = (), **options: Any
) -> Any:
    """A tiny model with an adapter on every layer, fused experts among them."""
    from peft import LoraConfig, get_peft_model

    model = fresh(name, folder, four_bit=four_bit, skip=skip)
    kinds = adaptable(build(name))
    parameters = [name for name, kind in kinds.items() if kind == "experts"]
    modules = [name for name, kind in kinds.items() if kind == "module"]
    torch.manual_seed(3)
    config = LoraConfig(
        **{
            "r": RANK,
            "lora_alpha": round(SCALE * RANK),
            "target_modules": modules,
            "target_parameters": parameters or None,
            **options,
        }
    )
    return get_peft_model(model, config)


def fresh(name: str, folder: Path, *, four_bit: bool = False, skip: Sequence[str] = ()) -> Any:
    """A tiny model, in 4 bits or not."""
    if four_bit:
        pytest.importorskip("bitsandbytes")
        return quantised(build(name), folder, list(skip))
    return build(name)


def images() -> list[dict[str, Any]]:
    """Pictures of noise, each of one of two classes."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(40, 3, 32, 32, generator=generator)
    return [{"pixel_values": one, "labels": i % 2} for i, one in enumerate(pictures)]


def _collated(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    labels = torch.tensor([row["labels"] for row in batch])
    return {"pixel_values": torch.stack([r["pixel_values"] for r in batch]), "labels": labels}


def run(model: Any, folder: Path, callback: Any, **options: Any) -> Any:
    """The trainer after 20 steps, of texts or of pictures."""
    from transformers import Trainer, TrainingArguments

    resume = options.pop("resume", None)
    pictures = "pixel" in str(getattr(model, "main_input_name", ""))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(folder, **{"learning_rate": 1e-2, **options})),
        train_dataset=images() if pictures else rows(),
        eval_dataset=rows(4) if options.get("eval_strategy") else None,
        data_collator=_collated if pictures else collate,
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def answer(model: Any) -> torch.Tensor:
    """What a model says to a fixed input, as it is while training: for inference on a CPU,
    bitsandbytes packs the weights otherwise, and matrices as small as these not at all."""
    torch.manual_seed(0)
    pictures = "pixel" in str(getattr(model, "main_input_name", ""))
    given = images()[0]["pixel_values"][None] if pictures else torch.arange(3, 19)[None]
    with torch.no_grad():
        logits: torch.Tensor = model.train()(given).logits
    return logits


def one_batch(model: Any) -> dict[str, torch.Tensor]:
    """Two texts or pictures, as the model takes them in a training."""
    if "pixel" in str(getattr(model, "main_input_name", "")):
        return _collated(images()[:2])
    return collate(rows(2))


def lines(folder: Path) -> list[dict[str, Any]]:
    """What a run has written of its adapters."""
    texts = (folder / ADAPTER_LINES).read_text(encoding="utf-8").splitlines()
    return [json.loads(text, parse_constant=pytest.fail) for text in texts]


def ranks(model: Any) -> dict[str, int]:
    """{layer: rank}, as PEFT's dicts say."""
    return {one.layer: one.module.r[one.name] for one in live_adapters(model)}


def products(model: Any) -> Iterator[tuple[LiveAdapter, torch.Tensor]]:
    """(adapter, s·B·A of all its matrices in float64)"""
    for one in live_adapters(model):
        downs, ups = one.factors()
        yield one, one.scale * ups.double() @ downs.double()
