"""Layers that share an adapter because their gradients are alike: found, tied, saved, resumed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("peft")

from peft import LoraConfig, get_peft_model
from torch import nn

from spectrum_tui.adapters import SpectrumAdapters
from spectrum_tui.core.adapters.grouping import tie
from spectrum_tui.core.adapters.resizing import switch
from spectrum_tui.core.adapters.watching import GradientWatch
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.training.live_adapters import live_adapters
from spectrum_tui.core.training.sketching import sketch
from tests.training.adapter_runs import adapted, lines, one_batch, ranks, run
from tests.training.runs import arguments, build

SIZE = 96
"""Above 64, so that gradients are projected on both sides."""
PROBE = 6


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Linear(SIZE, SIZE, bias=False)
        self.down_proj = nn.Linear(SIZE, SIZE, bias=False)


class Twins(nn.Module):
    """Blocks 0 and 1 have `up_proj` of the same input and the same gradient of the output: their
    own gradients are the same. Those of `down_proj`, and block 2, are none of each other's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        layers: Any = self.layers
        first, second, third = layers
        both = torch.tanh(first.up_proj(x) + second.up_proj(x))
        both = torch.tanh(first.down_proj(both))
        both = torch.tanh(second.down_proj(both) + third.up_proj(torch.cos(both)))
        out = self.head(third.down_proj(both))
        return {"loss": nn.functional.mse_loss(out, labels), "logits": out}


def twins(**options: Any) -> Any:
    torch.manual_seed(1)
    names = ["up_proj", "down_proj"]
    return get_peft_model(Twins(), LoraConfig(r=3, lora_alpha=6, target_modules=names, **options))


def trained(model: Any, folder: Path, callback: Any, **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    resume = options.pop("resume", None)
    generator = torch.Generator().manual_seed(2)
    texts = [
        {"x": torch.randn(SIZE, generator=generator), "labels": torch.randn(SIZE)}
        for _ in range(40)
    ]
    settings = {"learning_rate": 1e-2, "label_names": ["labels"], "max_grad_norm": 0.0, **options}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(folder, **settings)),
        train_dataset=texts,
        data_collator=lambda rows: {k: torch.stack([r[k] for r in rows]) for k in rows[0]},
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Seen(SpectrumAdapters):
    """What the twins had learned when they were tied, and what they share then."""

    def _group(self, args: Any, state: Any, optimizer: Any) -> None:
        assert self._following is not None
        each = {
            one.layer: (one.scale * one.up @ one.down).detach().double().numpy()
            for one in self._following.adapters
        }
        self.mean = (each["layers.0.up_proj"] + each["layers.1.up_proj"]) / 2
        super()._group(args, state, optimizer)
        first = self._following.adapters[0]
        self.shared = (first.scale * first.up @ first.down).detach().double().numpy()


def test_twins_are_found_and_share_the_mean_of_what_they_learned(tmp_path: Path) -> None:
    model, callback = twins(), Seen(groups="gradient", probe_steps=PROBE)
    trained(model, tmp_path, callback)
    (line,) = lines(tmp_path)
    assert line["step"] == PROBE
    assert line["groups"] == [["layers.0.up_proj", "layers.1.up_proj"]]
    assert "2 layers in 1 adapter from now on" in line["moves"]
    left, values, right = np.linalg.svd(callback.mean)
    wanted = (left[:, :3] * values[:3]) @ right[:3]
    np.testing.assert_allclose(callback.shared, wanted, atol=1e-6 * values[0])
    one, other = (
        next(a for a in live_adapters(model) if a.layer == f"layers.{i}.up_proj") for i in (0, 1)
    )
    assert one.down is other.down and one.up is other.up
    apart = {id(a.down) for a in live_adapters(model)}
    assert len(apart) == len(live_adapters(model)) - 1
    now = (one.scale * one.up @ one.down).detach().double().numpy()
    assert np.abs(now - callback.shared).max() > 1e-4  # it goes on learning
    factors = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert line["trainable"] == factors == 5 * 3 * 2 * SIZE


def test_one_step_of_a_shared_adapter_is_that_of_both_gradients() -> None:
    model = twins()
    adapters = {one.layer: one for one in live_adapters(model)}
    pair = [adapters[f"layers.{i}.up_proj"] for i in (0, 1)]
    with torch.no_grad():
        for one in pair:
            one.up.normal_(std=0.1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    tie(pair, optimizer)
    down, up = pair[0].down, pair[0].up
    x, labels = torch.randn(4, SIZE), torch.randn(4, SIZE)
    plain: Any = Twins()  # each layer's own gradient, by autograd
    with torch.no_grad():
        for one in adapters.values():
            plain.get_submodule(one.layer).weight += one.scale * (one.up @ one.down)
    plain(x, labels)["loss"].backward()
    first, second = (plain.layers[i].up_proj.weight.grad for i in (0, 1))
    both = (first + second) * pair[0].scale
    wanted = (down - 0.1 * up.T @ both, up - 0.1 * both @ down.T)
    model(x, labels)["loss"].backward()
    optimizer.step()
    torch.testing.assert_close(down, wanted[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(up, wanted[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "vit"])
def test_what_is_watched_is_the_gradient_of_full_training(name: str, tmp_path: Path) -> None:
    """Sides up to 64 are left as they are: but for GPT-2's queries, a sketch is the gradient
    itself. One adapter trains."""
    model = adapted(name, tmp_path).eval()
    found = live_adapters(model)
    for one in found[:-1]:
        switch(one, False)
    watch = GradientWatch(found)
    watch.start()
    given = one_batch(model)
    for _ in range(2):
        model(**given).loss.backward()
        watch.end_step()
    watch.stop()
    plain = build(name).eval()
    plain(**given).loss.backward()
    sketches, norms = watch.sketches(), watch.norms()
    assert list(sketches) == [one.layer for one in found]
    for layer, seen in sketches.items():
        weight = plain.get_submodule(layer).weight
        wanted = sketch(weight.grad.T if name == "gpt2" else weight.grad)
        np.testing.assert_allclose(seen, wanted.numpy(), atol=1e-6)
        assert norms[layer] == pytest.approx(float(wanted.norm()), rel=1e-4)


def test_large_layers_are_watched_by_projections(tmp_path: Path) -> None:
    model = twins()
    watch = GradientWatch(live_adapters(model))
    watch.start()
    x, labels = torch.randn(40, SIZE), torch.randn(40, SIZE)
    model(x, labels)["loss"].backward()
    watch.end_step()
    plain = Twins()
    plain(x, labels)["loss"].backward()
    for layer, sketched in watch.sketches().items():
        wanted = sketch(plain.get_submodule(layer).weight.grad)  # type: ignore[arg-type]
        np.testing.assert_allclose(sketched, wanted.numpy(), atol=1e-7)


def test_a_random_model_shares_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = adapted("llama", tmp_path)
    before = ranks(model)
    with caplog.at_level(logging.INFO, logger="spectrum_tui.adapters"):
        run(model, tmp_path, SpectrumAdapters(groups="gradient", probe_steps=10))
    (line,) = lines(tmp_path)
    assert line["groups"] == []
    assert "none reaches 0.5, nothing is shared" in line["moves"]
    assert "step 10: the most similar gradients are those of model.layers." in caplog.text
    assert ranks(model) == before
    assert len({id(one.down) for one in live_adapters(model)}) == len(before)


def test_ranks_of_a_shared_adapter_and_a_run_that_is_resumed(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 10}

    def callback() -> SpectrumAdapters:
        return SpectrumAdapters(
            every=10, groups="gradient", probe_steps=PROBE, top_percent=34, high_rank=5
        )

    model = twins()
    trained(model, tmp_path / "whole", callback(), **options)
    again = twins()
    trained(
        again,
        tmp_path / "again",
        callback(),
        resume=str(tmp_path / "whole" / "checkpoint-10"),
        **options,
    )
    assert ranks(again) == ranks(model)
    for one, other in zip(live_adapters(model), live_adapters(again), strict=True):
        assert torch.equal(one.down, other.down) and torch.equal(one.up, other.up)
    pair = [a for a in live_adapters(again) if a.layer in ("layers.0.up_proj", "layers.1.up_proj")]
    assert pair[0].down is pair[1].down


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="A group of one shares nothing"):
        tie(live_adapters(twins())[:1])
