"""Adapters that follow the scores in a real Trainer: what trains, what is kept, what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model

from spectrum_tui.adapters import SpectrumAdapters
from spectrum_tui.callback import LINES, RescoreCallback
from spectrum_tui.core.saved.steps import ADAPTER_LINES
from spectrum_tui.core.training.live_adapters import live_adapters
from spectrum_tui.core.training.rescoring import dequantised
from tests import oracle
from tests.training.adapter_runs import (
    RANK,
    SCALE,
    adapted,
    answer,
    fresh,
    lines,
    products,
    ranks,
    run,
)
from tests.training.peft_models import adaptable
from tests.training.runs import build, copied

MODELS = [
    ("llama", False),
    ("llama", True),
    ("gpt2", False),
    ("qwen3_moe", False),
    ("qwen3_moe", True),
    ("vit", False),
    ("vit", True),
]
IDS = [f"{name}{'-nf4' if four_bit else ''}" for name, four_bit in MODELS]


@pytest.mark.parametrize(("name", "four_bit"), MODELS, ids=IDS)
@pytest.mark.parametrize("metric", ["spectrum", "gradient"])
def test_only_chosen_adapters_train_and_the_others_keep_what_they_learned(
    name: str, four_bit: bool, metric: str, tmp_path: Path
) -> None:
    model = adapted(name, tmp_path / "base", four_bit=four_bit)
    before, at_step = copied(model), {}

    class Look(SpectrumAdapters):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step % 5 == 0:
                at_step[state.global_step] = copied(kwargs["model"])

    run(model, tmp_path, Look(every=5, top_percent=50, metric=metric))
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [0, 5, 10, 15, 20]
    assert set(found[0]["ranks"].values()) == {0, RANK}
    states = [before, *(at_step[step] for step in (5, 10, 15, 20))]
    for line, old, new in zip(found, states, states[1:], strict=False):
        moved = {key for key in new if not torch.equal(new[key], old[key])}
        on = {layer for layer, rank in line["ranks"].items() if rank}
        wanted = {
            parameter
            for one in live_adapters(model)
            if one.layer in on
            for parameter in names_of(model, one.down, one.up)
        }
        assert moved == wanted
    chosen = {n for line in found[:-1] for n, rank in line["ranks"].items() if rank}
    for one, product in products(model):
        assert bool(product.any()) == (one.layer in chosen)


@pytest.mark.parametrize("four_bit", [False, True], ids=["whole", "nf4"])
@pytest.mark.parametrize("callback", [SpectrumAdapters, RescoreCallback])
def test_what_is_scored_is_the_effective_weight(
    callback: Any, four_bit: bool, tmp_path: Path
) -> None:
    """W + s·B·A, with W as it is computed with, by numpy's own SVD."""
    model = adapted("llama", tmp_path / "base", four_bit=four_bit)
    run(model, tmp_path, callback(at=[20], top_percent=50))
    path = tmp_path / (LINES if callback is RescoreCallback else ADAPTER_LINES)
    *_, line = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    bases = {one.layer: dequantised(one).double().numpy() for one in live_adapters(model)}
    for one, product in products(model):
        wanted = oracle.snr(bases[one.layer] + product[0].numpy())
        assert line["scores"][one.layer] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("four_bit", [False, True], ids=["whole", "nf4"])
def test_modules_that_train_whole_train_on_beside_them(four_bit: bool, tmp_path: Path) -> None:
    """A hybrid: what is in `modules_to_save` trains whatever is chosen, and is not chosen."""
    whole = ["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"]
    linear = [n for n in adaptable(build("llama")) if n not in whole]
    keep = {"skip": whole} if four_bit else {}
    model = adapted(
        "llama",
        tmp_path / "base",
        four_bit=four_bit,
        target_modules=linear,
        modules_to_save=whole,
        **keep,
    )
    before = copied(model)
    run(model, tmp_path, SpectrumAdapters(at=[20], top_percent=50))
    moved = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    (start, _) = lines(tmp_path)
    assert set(start["ranks"]) == set(linear)
    chosen = [one for one in live_adapters(model) if start["ranks"][one.layer]]
    factors = {name for one in chosen for name in names_of(model, one.down, one.up)}
    copies = {key for key in moved if ".modules_to_save." in key}
    assert moved == factors | copies
    assert {
        key.partition(".modules_to_save")[0].rpartition("base_model.model.")[2] for key in copies
    } == set(whole)


def names_of(model: Any, *parameters: torch.nn.Parameter) -> set[str]:
    ids = {id(p) for p in parameters}
    return {name for name, p in model.named_parameters() if id(p) in ids}


@pytest.mark.parametrize(("name", "four_bit"), MODELS, ids=IDS)
def test_ranks_follow_and_come_back_with_the_saved_adapter(
    name: str, four_bit: bool, tmp_path: Path
) -> None:
    model = adapted(name, tmp_path / "base", four_bit=four_bit)
    callback = SpectrumAdapters(
        every=5, top_percent=50, high_rank=6, medium_percent=100, medium_rank=2
    )
    before = copied(model)
    run(model, tmp_path, callback)
    moved = {key for key, p in model.named_parameters() if not differs_little(p, before[key])}
    assert all(".lora_" in key for key in moved)
    found = lines(tmp_path)
    assert set(found[-1]["ranks"].values()) == {2, 6}
    assert ranks(model) == found[-1]["ranks"]
    for one in live_adapters(model):
        assert one.scale == one.module.scaling["default"] == SCALE
        assert one.down.shape[0] == one.rank * one.experts == one.up.shape[1]
    model.save_pretrained(tmp_path / "adapter")
    base = fresh(name, tmp_path / "base", four_bit=four_bit)
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert ranks(again) == ranks(model)
    assert torch.equal(answer(again), answer(model))


def differs_little(now: torch.Tensor, before: torch.Tensor) -> bool:
    return now.shape == before.shape and torch.equal(now, before)


def test_a_base_that_is_packed_for_inference_is_read_all_the_same() -> None:
    """After an evaluation on a CPU with AVX512-BF16, bitsandbytes keeps weights in another
    order."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    linear = bitsandbytes.nn.Linear4bit(128, 64, compute_dtype=torch.float32, quant_type="nf4")
    torch.manual_seed(0)
    linear.load_state_dict({"weight": torch.randn(64, 128), "bias": torch.zeros(64)})
    linear.to("cpu")
    model = get_peft_model(
        torch.nn.Sequential(torch.nn.Sequential(linear)), LoraConfig(target_modules=["0.0"])
    )
    (one,) = live_adapters(model)
    before = dequantised(one)
    with torch.no_grad():
        linear.eval()(torch.randn(2, 128))
    # absmax is kept in bfloat16 by then: 3 significant digits
    torch.testing.assert_close(dequantised(one), before, rtol=0.01, atol=0)
