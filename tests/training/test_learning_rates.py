"""Learning rates by rank: the groups by hand, in a Trainer, and against PEFT's LoRA+."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from spectrum_tui.adapters import optimizer_cls_and_kwargs, param_groups
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.training.rescoring import Rescorer, live_layers
from spectrum_tui.freeze import freeze_except
from tests.training.adapter_runs import adapted
from tests.training.runs import arguments, build, collate, rows

FIRST, SECOND = (f"model.layers.{i}.mlp.up_proj" for i in (1, 0))
SCORES = {FIRST: 2.0, SECOND: 1.0, "model.layers.0.mlp.down_proj": 3.0}


def rates(groups: list[dict[str, Any]], model: Any) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    found = [(names[id(p)], group["lr"]) for group in groups for p in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_ranks_within_types_are_rates(tmp_path: Path) -> None:
    model = adapted("llama", tmp_path)
    found = rates(param_groups(model, SCORES, lr=1e-3, lowest=0.25), model)
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, rate in found.items():
        slow = SECOND in name
        assert rate == pytest.approx(0.25e-3 if slow else 1e-3)


def test_whole_layers_experts_and_results(tmp_path: Path) -> None:
    model = build("qwen3_moe")
    result = Rescorer(live_layers(model), "spectrum", "x").result()
    chosen = ["model.layers.0.mlp.experts.down_proj", "model.layers.1.mlp.experts.down_proj"]
    freeze_except(model, [*chosen, "model.norm"])
    found = rates(param_groups(model, result, lr=1.0, weight_decay=0.1), model)
    values = dict(zip(result.scores.layers, result.scores.values.tolist(), strict=True))
    best = max(chosen, key=values.__getitem__)
    assert found == {name: pytest.approx(1.0 if name == best else 0.1) for name in chosen} | {
        "model.norm.weight": 1.0
    }
    decays = {g["weight_decay"] for g in param_groups(model, result, lr=1.0, weight_decay=0.1)}
    assert decays == {0.1, 0.0}


def test_loraplus_is_that_of_peft(tmp_path: Path) -> None:
    from peft.optimizers import create_loraplus_optimizer

    model = adapted("llama", tmp_path, lora_bias=False)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16)
    ours = param_groups(model, SCORES, lr=1e-3, lowest=1.0, loraplus_lr_ratio=16)
    assert rates(ours, model) == rates(theirs.param_groups, model)


def test_a_trainer_takes_them(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    model = adapted("llama", tmp_path)
    wanted = rates(param_groups(model, SCORES, lr=1e-2, lowest=0.5), model)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(tmp_path, lr_scheduler_type="constant")),
        train_dataset=rows(),
        data_collator=collate,
        optimizer_cls_and_kwargs=optimizer_cls_and_kwargs(model, SCORES, lr=1e-2, lowest=0.5),
    )
    trainer.train()
    assert rates(trainer.optimizer.param_groups, model) == wanted


def test_what_is_refused(tmp_path: Path) -> None:
    model = adapted("llama", tmp_path)
    inf = float("inf")
    wrong: list[dict[str, Any]] = [
        {"lr": 1e-3, "lowest": 0},
        {"lr": 1e-3, "loraplus_lr_ratio": inf},
        {"lr": "1e-3"},
        {"lr": inf},
    ]
    for options in wrong:
        with pytest.raises(InputError, match="lowest"):
            param_groups(model, SCORES, **options)
    with pytest.raises(InputError, match="No layer that trains has a score"):
        param_groups(model, {"another.layer": 1.0}, lr=1e-3)
    model.requires_grad_(False)
    with pytest.raises(InputError, match="Nothing in the model trains"):
        param_groups(model, SCORES, lr=1e-3)
