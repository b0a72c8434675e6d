"""The promise of memory: a model twice as large as what is allowed is measured within that."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spectrum_tui.core.platforms import forget_peak, peak_bytes, resident_bytes
from spectrum_tui.core.probing.records import Plan, Probed, Said, Target
from tests.unit.probing.by_hand import job, said
from tests.unit.proving.tiny_language import tokenizer

MEASURED = (
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.7.self_attn.q_proj.weight",
    "model.layers.15.mlp.up_proj.weight",
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with a model of 16 blocks, 13 MB each in float32; the bytes of it."""
    folder = tmp_path_factory.mktemp("large")
    config = LlamaConfig(
        vocab_size=96, hidden_size=512, intermediate_size=1376, num_hidden_layers=16,
        num_attention_heads=8, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder, 4 * sum(parameter.numel() for parameter in model.parameters())


def peak_of(folder: Path, texts: Path, memory: int) -> tuple[int, Plan, Probed]:
    """The bytes that a probe takes at the most, beyond what was there before."""
    asked = job(
        folder, texts, *(Target(parameter=name) for name in MEASURED), memory=memory,
        dtype="float32", batch=1,
    )  # fmt: skip
    gc.collect()
    before = resident_bytes(os.getpid())
    forget_peak()
    lines, outcome = said(asked)
    peak = peak_bytes() - before
    return peak, plan_in(lines), outcome


def plan_in(lines: list[Said]) -> Plan:
    (plan,) = (line for line in lines if isinstance(line, Plan))
    return plan


def test_a_model_twice_the_memory_is_measured_within_it(
    large: tuple[Path, int], tmp_path: Path
) -> None:
    folder, size = large
    forget_peak()
    if peak_bytes() > resident_bytes(os.getpid()) + 2**24:
        pytest.skip("this system keeps no peak that can be forgotten")
    allowed = size // 2
    peak, plan, outcome = peak_of(folder, tmp_path, allowed)
    assert plan.recompute and not plan.hold and plan.memory <= allowed
    assert peak <= allowed
    whole_peak, whole_plan, whole = peak_of(folder, tmp_path, 100 * size)
    assert whole_plan.hold and not whole_plan.recompute
    assert whole_peak > 1.2 * allowed, "the measure sees what is held"
    assert outcome.loss == pytest.approx(whole.loss, rel=1e-6)
    for values, at_once in zip(outcome.values, whole.values, strict=True):
        assert values["gradient"] == pytest.approx(at_once["gradient"], rel=1e-4)
