"""Estimated bytes against those of real tensors after a real step of a real optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import Training, preset_named
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import MetricColumn, Result
from spectrum_tui.core.results.selection import Selection
from tests.training.memory_models import causal, chosen, scored

CLOSE = 0.05
"""What an estimate may be off by."""
choices = pytest.mark.parametrize(
    ("percent", "embeddings"),
    [(100, True), (100, False), (50, True), (25, True), (25, False), (10, True), (10, False)],
)
MODELS = [("llama", False), ("qwen2", True)]
models = pytest.mark.parametrize(("kind", "tied"), MODELS)


def estimated(result: Result, percent: int, preset: str, *, embeddings: bool) -> Estimate:
    table = MemoryTable(Selection(result), ModelSizes(result.parameters, result.embeddings))
    training = Training(preset=preset_named(preset), sequence=32, checkpointing=False)
    return table.estimate(Policy(percent=percent, embeddings=embeddings), training)


def freeze(model: Any, names: set[str]) -> list[torch.nn.Parameter]:
    """Train these alone; returns them."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in names)
    return [weight for weight in model.parameters() if weight.requires_grad]


def backward(model: Any) -> None:
    tokens = torch.arange(32).reshape(1, 32)
    model.train()  # for inference on a CPU, bitsandbytes packs its weights otherwise
    model(input_ids=tokens, labels=tokens).loss.backward()


def nbytes(tensors: Iterable[torch.Tensor | None]) -> int:
    """Bytes of all of them, what is shared once."""
    storages = [t.untyped_storage() for t in tensors if t is not None]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def state_of(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if torch.is_tensor(value))


def measured(
    model: Any, optimizer: torch.optim.Optimizer, masters: Iterable[torch.nn.Parameter] = ()
) -> tuple[int, int, int]:
    """(weights, gradients, optimizer state with any master copies) in bytes."""
    masters = list(masters)
    weights = [*model.parameters(), *quantisation_of(model)]
    gradients = [weight.grad for weight in (*model.parameters(), *masters)]
    return nbytes(weights), nbytes(gradients), nbytes([*state_of(optimizer), *masters])


def quantisation_of(model: Any) -> Iterator[torch.Tensor]:
    """What a 4-bit weight keeps beside its packed values, less the map that all of them share."""
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        if state is not None:
            yield from (state.absmax, state.code, state.offset)
            yield from (state.state2.absmax, state.state2.code)


def agree(estimate: Estimate, weights: int, gradients: int, optimizer: int) -> None:
    """Each part, not only the sum: errors could make up for each other."""
    assert weights == pytest.approx(estimate.weights, rel=CLOSE)
    assert gradients == pytest.approx(estimate.gradients, rel=CLOSE)
    assert optimizer == pytest.approx(estimate.optimizer, rel=CLOSE)


@models
@choices
@pytest.mark.parametrize(
    ("preset", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)], ids=str
)
def test_adamw(
    kind: str, tied: bool, percent: int, embeddings: bool, preset: str, dtype: torch.dtype
) -> None:
    model = causal(kind, tied=tied, dtype=dtype)
    result = scored(model)
    optimizer = torch.optim.AdamW(freeze(model, chosen(result, percent, embeddings=embeddings)))
    backward(model)
    optimizer.step()
    agree(estimated(result, percent, preset, embeddings=embeddings), *measured(model, optimizer))


@models
@choices
def test_master_weights(kind: str, tied: bool, percent: int, embeddings: bool) -> None:
    model = causal(kind, tied=tied, dtype=torch.bfloat16)
    result = scored(model)
    trained = freeze(model, chosen(result, percent, embeddings=embeddings))
    masters = [torch.nn.Parameter(weight.detach().float()) for weight in trained]
    optimizer = torch.optim.AdamW(masters)
    backward(model)
    for weight, master in zip(trained, masters, strict=True):
        assert weight.grad is not None
        master.grad, weight.grad = weight.grad.float(), None
    optimizer.step()
    agree(
        estimated(result, percent, "mixed", embeddings=embeddings),
        *measured(model, optimizer, masters),
    )


@models
@choices
def test_8_bit_adamw_as_the_trainer_makes_it(
    kind: str, tied: bool, percent: int, embeddings: bool, tmp_path: Path
) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    model = causal(kind, tied=tied, dtype=torch.bfloat16)
    result = scored(model)
    freeze(model, chosen(result, percent, embeddings=embeddings))
    # It remembers tensors by their id, those of models that are gone too.
    bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()
    arguments = TrainingArguments(
        str(tmp_path), optim="adamw_bnb_8bit", use_cpu=True, report_to=[], save_strategy="no"
    )
    optimizer: Any = Trainer(model=model, args=arguments).create_optimizer()
    backward(model)
    optimizer.step()
    agree(estimated(result, percent, "8bit", embeddings=embeddings), *measured(model, optimizer))


@pytest.mark.parametrize(("kind", "tied"), [*MODELS, ("gpt2", True)])
@pytest.mark.parametrize("percent", [100, 25])
@pytest.mark.parametrize("preset", ["lora", "qlora"])
def test_adapters(kind: str, tied: bool, percent: int, preset: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = causal(kind, tied=tied, dtype=torch.bfloat16)
    result = scored(plain)
    plain.save_pretrained(tmp_path)
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=torch.bfloat16,
        quantization_config=four_bit if preset == "qlora" else None,
    )
    targets = modules(chosen(result, percent, embeddings=False))
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=32, target_modules=targets)
    model = peft.get_peft_model(base, config)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad])
    backward(model)
    optimizer.step()
    estimate = estimated(result, percent, preset, embeddings=True)
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == estimate.trained
    agree(estimate, *measured(model, optimizer))


@pytest.mark.parametrize(("kind", "tied"), MODELS)
@pytest.mark.parametrize("percent", [30, 10])
def test_the_hybrid(kind: str, tied: bool, percent: int, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = causal(kind, tied=tied, dtype=torch.bfloat16)
    result = scored(plain)
    plain.save_pretrained(tmp_path)
    high, upto = (modules(chosen(result, p, embeddings=False)) for p in (percent, 50))
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[*high, "lm_head"],
    )
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=four_bit
    )
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=8, target_modules=upto - high, modules_to_save=[*high]
    )
    model = peft.get_peft_model(base, config)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad])
    backward(model)
    optimizer.step()
    estimate = estimated(result, percent, "hybrid", embeddings=True)
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == estimate.trained
    agree(estimate, *measured(model, optimizer))


def modules(names: set[str]) -> set[str]:
    return {name.removesuffix(".weight") for name in names if name.endswith(".weight")}


def kept_for_backward(model: Any, tokens: int) -> int:
    """Bytes that autograd holds at the end of a forward pass, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    held: list[torch.Tensor] = []

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            held.append(tensor)
        return tensor

    model.train()
    ids = torch.arange(tokens).reshape(1, tokens)
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        loss = model(input_ids=ids, labels=ids).loss
    assert loss.requires_grad
    return nbytes(held)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("percent", "embeddings"), [(100, True), (50, True), (50, False), (20, False)]
)
def test_activations_are_of_that_size(kind: str, percent: int, embeddings: bool) -> None:
    tokens = 256
    model = causal(kind, dtype=torch.bfloat16)
    plain = scored(model)
    # The deeper a block the better, so that what trains begins half way up, or higher.
    depth = np.array([float(name.split(".")[2]) for name in plain.scores.layers])
    result = replace(plain, scores=replace(plain.scores, metrics={"spectrum": MetricColumn(depth)}))
    freeze(model, chosen(result, percent, embeddings=embeddings))
    table = MemoryTable(Selection(result), ModelSizes(result.parameters, result.embeddings))
    training = Training(sequence=tokens, checkpointing=False)
    estimate = table.estimate(Policy(percent=percent, embeddings=embeddings), training).activations
    # Of the logits' ten bytes, the fp32 gradient and the bf16 copy come later or are gone.
    logits = tokens * 2000 * 6
    assert kept_for_backward(model, tokens) == pytest.approx(estimate - logits, rel=0.3)
