"""Adapters that follow the scores against fixed tiers and AdaLoRA, on a real model and text.

usage: python -m tests.benchmarks.bench_dynamic SCORES.json MODEL TRAIN.jsonl HELD_OUT.jsonl

Every row is one of `spectrum-tui prove`: same data in the same order, same optimizer, the rate by
the same short trials. AdaLoRA has the adapters and ranks that come nearest to the parameters that
the others train. Takes ten minutes with MiniLM on two cores.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace

from spectrum_tui.cli.prove import prepared_by
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.rates import best_rate, next_rate, trial_steps
from spectrum_tui.core.proof.rows import Outcome, Progress, Row
from spectrum_tui.proving.preparing import Prepared
from spectrum_tui.proving.process import RowProcess
from tests.benchmarks.machine import describe

SEEDS, STEPS = 3, 100
METHODS = ("tiers:25", "dynamic:25", "lora:100")
"""The last one is what AdaLoRA's rows are made of."""
RANK, FIRST_RANK = 5, 8
"""Of AdaLoRA: at the end on average, 0.94 of the tiers' adapters on MiniLM, and at the start, 1.5
times that, as its authors advise."""

ADALORA = """
import json
from pathlib import Path

import torch
from peft import AdaLoraConfig, get_peft_model
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

GIVEN = json.loads(Path(__file__).with_suffix(".json").read_text())


def load_model(model):
    config = AdaLoraConfig(**GIVEN["config"])
    auto = AutoModelForMaskedLM if GIVEN["masked"] else AutoModelForCausalLM
    adapted = get_peft_model(auto.from_pretrained(model), config)
    steps = iter(range(1, config.total_step + 1))

    def penalise(optimizer, args, kwargs):
        found = [p @ p.T if "lora_A" in n else p.T @ p for n, p in adapted.named_parameters()
                 if "lora_A" in n or "lora_B" in n]
        total = sum(torch.norm(one - torch.eye(len(one)), p="fro") for one in found) / len(found)
        (config.orth_reg_weight * total).backward()

    register_optimizer_step_pre_hook(penalise)
    register_optimizer_step_post_hook(
        lambda optimizer, args, kwargs: adapted.base_model.update_and_allocate(next(steps))
    )
    return adapted
"""
"""A recipe: PEFT's AdaLoRA with the penalty and the budget that its authors' trainer adds."""

Make = Callable[[int, float, int], Row]
"""(seed, rate, steps) -> a row."""


def main(arguments: list[str]) -> None:
    """Print a table: loss, parameters, time of a step."""
    print(describe())
    scores, model, train, held_out = arguments
    with tempfile.TemporaryDirectory() as folder:
        typed = f"--batch 2 --sequence 128 --steps {STEPS} --seeds {SEEDS} --device cpu --keep none"
        given = [scores, "--model", model, "--data", train, "--eval", held_out, "-o", folder]
        prepared = prepared_by([*given, "--methods", ",".join(METHODS), *typed.split()])
        prepared.write_texts()
        for method in prepared.plan.methods[:-1]:
            report(method.text, *trained(prepared, method, by_plan(prepared, method)))
        lora = prepared.plan.methods[-1]
        report("AdaLoRA", *trained(prepared, lora, by_adalora(prepared, lora)))


def by_plan(prepared: Prepared, method: Method) -> Make:
    """Return what makes the rows of a method of `prove`."""
    return lambda seed, rate, steps: prepared.plan.row(method, seed, rate, steps)


def by_adalora(prepared: Prepared, lora: Method) -> Make:
    """Return what makes rows of AdaLoRA on the layers of LoRA's recipe."""

    def make(seed: int, rate: float, steps: int) -> Row:
        row = prepared.plan.row(lora, seed, rate, steps)
        known = json.loads(dict(row.files)["recipe.json"])
        config = {
            "init_r": FIRST_RANK,
            "target_r": RANK,
            "lora_alpha": known["lora_alpha"] * FIRST_RANK // known["r"],
            "target_modules": known["target_modules"],
            "modules_to_save": known.get("modules_to_save"),
            "total_step": steps,
            "tinit": steps // 10,
            "tfinal": steps // 2,
            "deltaT": max(1, steps // 40),
        }
        given = {"config": config, "masked": "Masked" in prepared.conditions.model_class}
        files = (("recipe.json", json.dumps(given)), ("recipe.py", ADALORA))
        return replace(row, files=files)

    return make


def trained(prepared: Prepared, method: Method, make: Make) -> tuple[float, list[Outcome]]:
    """Return the rate that short trials find, and what came of a row with each seed."""
    tried: list[Outcome] = []
    while (rate := next_rate(method, tried)) is not None:
        row = replace(make(0, rate, trial_steps(STEPS)), trial=True)
        tried.append(outcome_of(prepared, row))
    found = best_rate(tried)
    assert found is not None, tried
    return found, [outcome_of(prepared, make(seed, found, STEPS)) for seed in range(SEEDS)]


def outcome_of(prepared: Prepared, row: Row) -> Outcome:
    """Run a row in a process of its own."""

    def unheard(progress: Progress) -> None:
        pass

    outcome, _ = RowProcess().run(prepared.job(row), unheard)
    if outcome is None or outcome.after is None:
        raise SystemExit(f"{row.method}: {outcome and outcome.error} {outcome and outcome.hint}")
    return outcome


def report(name: str, rate: float, outcomes: list[Outcome]) -> None:
    """Print a line."""
    losses = [one.after.held_out for one in outcomes if one.after]
    step = statistics.median(one.step_seconds for one in outcomes)
    print(
        f"{name:12} rate {rate:7.1e}  loss {statistics.mean(losses):.3f} ± "
        f"{statistics.stdev(losses):.3f}  trained at the start {outcomes[0].trained:,}  "
        f"step {step * 1000:.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
