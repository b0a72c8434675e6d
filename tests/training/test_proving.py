"""Rows of a proof with adapters, by the recipes themselves; in several processes; and their memory
against the estimates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("accelerate")

from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.proof.methods import parse_methods
from spectrum_tui.core.proof.plan import Plan, memory_in_all, training_of
from spectrum_tui.core.proof.rows import Conditions, Job, Outcome, Progress
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.row import run_job
from tests.training.conftest import Models
from tests.training.peft_models import Prepared
from tests.unit.proving.tiny_language import conditions, tokenizer

STEPS = 4
METHODS = "full,top:25,lora,tiers:25,groups:25,dynamic:25,hybrid:25,qlora"


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    state = torch.get_rng_state()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_rng_state(state)


@pytest.fixture
def model(prepared: Models) -> Prepared:
    made = prepared("llama")
    tokenizer().save_pretrained(made.folder)
    return made


def plan_of(model: Prepared, methods: str = METHODS) -> Plan:
    chosen = parse_methods(methods)
    rates = {method.text: 1e-3 for method in chosen}
    return Plan(
        selection=model.selection, methods=chosen, seeds=1, steps=STEPS, rates=rates,
        embeddings=False,
    )  # fmt: skip


def nothing(progress: Progress) -> None:
    pass


def rows(model: Prepared, texts: Conditions, methods: str) -> dict[str, Outcome]:
    plan = plan_of(model, methods)
    return {
        row.method: run_job(Job(conditions=texts, row=row), nothing)
        for row in plan.rows(plan.rates)
    }


@pytest.mark.parametrize(
    ("checkpointing", "dtype"), [(False, "float32"), (True, "float32"), (False, "bfloat16")]
)
@pytest.mark.parametrize("method", METHODS.split(","))
def test_every_method_trains_and_holds_what_is_estimated(
    method: str, checkpointing: bool, dtype: str, prepared: Models, tmp_path: Path
) -> None:
    if four_bit := method in ("hybrid:25", "qlora"):
        pytest.importorskip("bitsandbytes")
    model = prepared("llama", torch.bfloat16 if four_bit else torch.float32)
    tokenizer().save_pretrained(model.folder)
    texts = conditions(model.folder, tmp_path, checkpointing=checkpointing, dtype=dtype)
    ((_, outcome),) = rows(model, texts, method).items()
    assert outcome.error == "", outcome.hint
    assert outcome.before is not None and outcome.after is not None
    if dtype == "float32":  # in bfloat16 the differences of so few steps are rounded away
        assert outcome.after.held_out < outcome.before.held_out
    sizes = ModelSizes(model.result.parameters, model.result.embeddings)
    plan = plan_of(model, method)
    (needs,) = memory_in_all(plan, sizes, training_of(texts), half=dtype == "bfloat16").values()
    assert outcome.memory is not None
    assert outcome.trained == needs.trained
    assert outcome.memory.gradients == pytest.approx(needs.gradients, rel=0.05)
    assert outcome.memory.optimizer == pytest.approx(needs.optimizer, rel=0.05)
    if not four_bit:  # blocks of 64 weights do not fit these tiny ones
        assert outcome.memory.weights == pytest.approx(needs.weights, rel=0.05)


def test_adapters_begin_where_the_model_does(model: Prepared, tmp_path: Path) -> None:
    found = rows(model, conditions(model.folder, tmp_path), "top:25,lora")
    before = {one.before for one in found.values()}
    assert len(before) == 1
    assert len({one.curve[0] for one in found.values()}) == 1
    assert len({one.curve[-1] for one in found.values()}) == 2


def test_a_stored_bfloat16_trains_in_float32_on_a_cpu(prepared: Models, tmp_path: Path) -> None:
    half = prepared("llama", torch.bfloat16)
    tokenizer().save_pretrained(half.folder)
    found = rows(half, conditions(half.folder, tmp_path), "full,top:25,lora")
    assert {one.error for one in found.values()} == {""}
    assert len({one.before for one in found.values()}) == 1


def test_two_processes_are_the_same_training_as_one(model: Prepared, tmp_path: Path) -> None:
    texts = conditions(model.folder, tmp_path, batch=4)
    (row,) = plan_of(model, "top:25").rows({"top:25": 1e-3})
    one = run_job(Job(conditions=texts, row=row), nothing)
    shared = Job(conditions=replace(texts, processes=2), row=row)
    two, lasts = RowProcess().run(shared, nothing)
    assert two is not None and lasts and two.error == "", two
    assert [loss for _, loss in two.curve] == pytest.approx([x for _, x in one.curve], abs=1e-6)
    assert one.after is not None and two.after is not None
    assert two.after.held_out == pytest.approx(one.after.held_out, abs=1e-6)
    assert (two.tokens, two.trained, two.device) == (one.tokens, one.trained, "2 × cpu")


def test_a_batch_that_cannot_be_shared_is_refused(model: Prepared, tmp_path: Path) -> None:
    texts = conditions(model.folder, tmp_path, batch=3, processes=2)
    (row,) = plan_of(model, "top:25").rows({"top:25": 1e-3})
    outcome = run_job(Job(conditions=texts, row=row), nothing)
    assert outcome.error == "A batch of 3 cannot be shared by 2 processes."
