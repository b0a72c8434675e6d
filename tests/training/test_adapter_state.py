"""What changes with a rank, what does not, what a killed run goes on with, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("peft")

from peft import AdaLoraConfig, LoraConfig, get_peft_model

from spectrum_tui.adapters import SpectrumAdapters
from spectrum_tui.core.adapters.following import Following
from spectrum_tui.core.adapters.resizing import resize, switch
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.training.live_adapters import LiveAdapter, live_adapters
from tests.training.adapter_runs import (
    RANK,
    SCALE,
    adapted,
    answer,
    lines,
    one_batch,
    products,
    ranks,
    run,
)
from tests.training.runs import build, copied

EVERY = ["llama", "gpt2", "qwen3_moe", "vit"]


def stepped(model: Any, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        model(**one_batch(model)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(name: str, folder: Path, **options: Any) -> tuple[Any, torch.optim.Optimizer]:
    model = adapted(name, folder, **options)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    stepped(model, optimizer)
    return model, optimizer


def moments(optimizer: Any, parameter: torch.nn.Parameter) -> list[torch.Tensor]:
    state = optimizer.state[parameter]
    return [state["exp_avg"].clone(), state["exp_avg_sq"].clone()]


def as_factors(one: LiveAdapter, down: torch.Tensor, up: torch.Tensor) -> tuple[Any, Any]:
    """(experts x rank x inputs, experts x outputs x rank), by PEFT's own order."""
    downs = down.reshape(one.experts, -1, down.shape[-1])
    return downs, up.reshape(up.shape[0], -1, one.experts).permute(2, 0, 1)


@pytest.mark.parametrize("name", EVERY)
def test_growing_changes_no_output_and_keeps_moments(name: str, tmp_path: Path) -> None:
    model, optimizer = trained(name, tmp_path)
    before = answer(model)
    known = [
        (one, [one.factors()[0].clone(), one.factors()[1].clone()],
         moments(optimizer, one.down), moments(optimizer, one.up))
        for one in live_adapters(model)
    ]  # fmt: skip
    for one, *_ in known:
        resize(one, 7, optimizer, generator=torch.Generator().manual_seed(0))
    assert (answer(model) - before).abs().max() <= 1e-6
    for one, (downs, ups), of_down, of_up in known:
        assert (one.rank, one.scale) == (7, SCALE)
        new_downs, new_ups = one.factors()
        assert torch.equal(new_downs[:, :RANK], downs) and torch.equal(new_ups[..., :RANK], ups)
        assert new_downs[:, RANK:].abs().min() > 0 and not new_ups[..., RANK:].any()
        now = zip(moments(optimizer, one.down), moments(optimizer, one.up), strict=True)
        for (down, up), was in zip(now, zip(of_down, of_up, strict=True), strict=True):
            grown, kept = as_factors(one, down, up), as_factors(one, *was)
            assert torch.equal(grown[0][:, :RANK], kept[0])
            assert torch.equal(grown[1][..., :RANK], kept[1])
            assert not grown[0][:, RANK:].any() and not grown[1][..., RANK:].any()
    stepped(model, optimizer)
    assert all(one.factors()[1][..., RANK:].any() for one, *_ in known)  # what is new learns


@pytest.mark.parametrize("name", EVERY)
def test_shrinking_is_the_best_approximation(name: str, tmp_path: Path) -> None:
    model, optimizer = trained(name, tmp_path)
    before = [product.numpy().copy() for _, product in products(model)]
    for one in live_adapters(model):
        resize(one, 2, optimizer)
        assert one.down not in optimizer.state and one.up not in optimizer.state
    for (one, product), whole in zip(products(model), before, strict=True):
        assert (one.rank, one.scale, one.down.shape[0]) == (2, SCALE, 2 * one.experts)
        for found, old in zip(product.numpy(), whole, strict=True):
            left, values, right = np.linalg.svd(old, full_matrices=False)
            wanted = (left[:, :2] * values[:2]) @ right[:2]
            np.testing.assert_allclose(found, wanted, atol=2e-6 * max(values[0], 1e-3))
    stepped(model, optimizer)


def test_states_that_cannot_grow_start_anew(tmp_path: Path) -> None:
    model = adapted("llama", tmp_path)
    factors = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adafactor(factors, lr=1e-2)
    stepped(model, optimizer)
    (one, *_) = live_adapters(model)
    resize(one, 7, optimizer)
    assert one.down not in optimizer.state
    stepped(model, optimizer)


def test_rank_stabilised_and_gaussian_adapters(tmp_path: Path) -> None:
    from peft import PeftModel

    model = adapted("llama", tmp_path, use_rslora=True, init_lora_weights="gaussian")
    scale = SCALE * RANK / RANK**0.5
    callback = SpectrumAdapters(every=10, top_percent=50, high_rank=9)
    run(model, tmp_path, callback)
    assert all(one.scale == pytest.approx(scale, rel=1e-12) for one in live_adapters(model))
    assert 9 in ranks(model).values()
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(build("llama"), tmp_path / "adapter")
    assert ranks(again) == ranks(model)
    torch.testing.assert_close(answer(again), answer(model), rtol=0, atol=1e-7)


def follower() -> SpectrumAdapters:
    return SpectrumAdapters(every=5, top_percent=50, high_rank=6)


def test_a_killed_run_goes_on_with_the_same_ranks(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 10}
    model = adapted("llama", tmp_path)
    run(model, tmp_path / "whole", follower(), **saving)
    again = adapted("llama", tmp_path)
    resume = str(tmp_path / "whole" / "checkpoint-10")
    run(again, tmp_path / "again", follower(), resume=resume, **saving)
    assert [line["step"] for line in lines(tmp_path / "again")] == [15, 20]
    for line, wanted in zip(lines(tmp_path / "again"), lines(tmp_path / "whole")[3:], strict=True):
        assert (line["ranks"], line["scores"]) == (wanted["ranks"], wanted["scores"])
    for one, other in zip(live_adapters(model), live_adapters(again), strict=True):
        assert torch.equal(one.down, other.down) and torch.equal(one.up, other.up)
        assert one.trains == other.trains


def test_evaluations_choose_and_the_best_checkpoint_has_its_ranks(tmp_path: Path) -> None:
    from peft import PeftModel

    model = adapted("llama", tmp_path)
    callback = SpectrumAdapters(at_evaluation=True, top_percent=50, high_rank=6)
    trainer = run(
        model,
        tmp_path,
        callback,
        eval_strategy="steps",
        eval_steps=5,
        save_strategy="steps",
        save_steps=5,
        load_best_model_at_end=True,
    )
    assert [line["step"] for line in lines(tmp_path)] == [0, 5, 10, 15, 20]
    best = PeftModel.from_pretrained(build("llama"), trainer.state.best_model_checkpoint)
    assert ranks(best) == ranks(model)
    assert torch.equal(answer(best), answer(model))


# -- what is refused -------------------------------------------------------------------------------


def test_what_cannot_be_asked_for() -> None:
    nothing: list[dict[str, Any]] = [
        {},
        {"every": 0},
        {"every": -5, "at": [3]},
        {"every": "5"},
        {"every": 1.5},
        {"every": float("nan")},
    ]
    for options in nothing:
        with pytest.raises(InputError, match="No step to choose at"):
            SpectrumAdapters(**options)
    groups: list[dict[str, Any]] = [{"groups": "spectra"}, {"groups": "gradient", "probe_steps": 0}]
    for options in groups:
        with pytest.raises(InputError, match="roups"):
            SpectrumAdapters(every=5, **options)
    with pytest.raises(InputError, match="no metric"):
        SpectrumAdapters(every=5, metric="magic")
    with pytest.raises(InputError, match="needs data"):
        SpectrumAdapters(every=5, metric="fisher")
    with pytest.raises(InputError, match="no rank"):
        SpectrumAdapters(every=5, high_rank=-1)


def test_models_that_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LoRA adapters"):
        Following(build("llama"), name="x", seed=0)
    dora = get_peft_model(build("llama"), LoraConfig(target_modules=["q_proj"], use_dora=True))
    with pytest.raises(SpectrumError, match="is Dora"):
        Following(dora, name="x", seed=0)
    ada = AdaLoraConfig(target_modules=["q_proj"], total_step=9, init_r=4, target_r=2)
    with pytest.raises(SpectrumError, match="is SVDLinear: its weight is not"):
        Following(get_peft_model(build("llama"), ada), name="x", seed=0)
    odd = adapted("llama", tmp_path)
    base: Any = live_adapters(odd)[0].base
    codes = torch.zeros(base.weight.shape, dtype=torch.int8)
    base.weight = torch.nn.Parameter(codes, requires_grad=False)
    with pytest.raises(SpectrumError, match="is quantised as Linear"):
        Following(odd, name="x", seed=0)
    del base.weight
    with pytest.raises(SpectrumError, match="1 adapted layer cannot be scored"):
        Following(odd, name="x", seed=0)


def test_optimizers_that_were_made_before(tmp_path: Path) -> None:
    model, optimizer = trained("llama", tmp_path)
    following = Following(model, name="x", seed=0)
    following.check_optimizer(optimizer)
    first = following.adapters[0]
    resize(first, 7)  # without telling the optimizer
    with pytest.raises(InputError, match="remembers a matrix of"):
        following.check_optimizer(optimizer)
    some = torch.optim.AdamW([first.down])
    with pytest.raises(InputError, match="made without 27 of 28 adapter matrices"):
        following.check_optimizer(some)


def test_a_choice_that_trains_nothing_is_refused_before_the_first_step(tmp_path: Path) -> None:
    model = adapted("llama", tmp_path)
    with pytest.raises(SpectrumError, match="No adapter would train"):
        run(model, tmp_path, SpectrumAdapters(every=5, policy=Policy(percent=1, embeddings=False)))


def test_what_fails_later_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = adapted("llama", tmp_path)

    class Breaks(SpectrumAdapters):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 10:
                for one in live_adapters(kwargs["model"]):
                    with torch.no_grad():
                        one.down.fill_(float("nan"))
            super().on_step_end(args, state, control, **kwargs)

    trainer = run(model, tmp_path, Breaks(at=[10], top_percent=50))
    assert trainer.state.global_step == 20
    assert "step 10: adapters stay as they are: No adapter would train" in caplog.text


def test_switching(tmp_path: Path) -> None:
    model, optimizer = trained("llama", tmp_path)
    (one, *_) = live_adapters(model)
    before, kept = answer(model), copied(model)
    switch(one, False, optimizer)
    assert torch.equal(answer(model), before)
    stepped(model, optimizer)
    moved = {key for key, p in model.named_parameters() if not torch.equal(p, kept[key])}
    assert len(moved) == 26
    switch(one, True, optimizer)
    stepped(model, optimizer)
    assert sum(not torch.equal(p, kept[k]) for k, p in model.named_parameters()) == 28


# -- two processes ---------------------------------------------------------------------------------

WORKER = """
import json, sys
import torch
from pathlib import Path
from spectrum_tui.adapters import SpectrumAdapters
from spectrum_tui.core.training.live_adapters import live_adapters
from tests.training.adapter_runs import adapted, run
torch.set_num_threads(1)
folder = Path(sys.argv[1])
model = adapted("llama", folder)
callback = SpectrumAdapters(
    every=4, top_percent=50, high_rank=6, metric="gradient", groups="gradient", probe_steps=6,
    limit=-0.05,
)
trainer = run(model, folder, callback, max_steps=14, ddp_backend="gloo")
rank = trainer.args.process_index
torch.save([(one.layer, one.trains, one.down.data, one.up.data) for one in live_adapters(model)],
           folder / f"rank{rank}.pt")
"""


def test_two_processes_train_the_same_adapters(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    subprocess.run([*command, str(script), str(tmp_path)], check=True, env=environment, timeout=240)
    a, b = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for (layer, on, down, up), (layer_b, on_b, down_b, up_b) in zip(a, b, strict=True):
        assert (layer, on) == (layer_b, on_b)
        assert torch.equal(down, down_b) and torch.equal(up, up_b)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [0, 4, 6, 8, 12]
    assert {6, 0} <= set(found[-1]["ranks"].values())
    assert found[2]["groups"]
