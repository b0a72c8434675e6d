"""A row against a training loop written by hand, and what it changes of the model."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from spectrum_tui.core.proof.rows import DIVERGED, OUT_OF_MEMORY, Outcome, Progress
from spectrum_tui.proving import loading
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.row import run_job
from tests.architectures.tiny import ARCHITECTURES
from tests.unit.proving.texts import document
from tests.unit.proving.tiny_language import (
    END,
    conditions,
    ids,
    job,
    save_model,
    tokenizer,
)

NAMES = ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight")
MAIN = "import os, runpy; os.nice = int; runpy.run_module('spectrum_tui.proving', None, '__main__')"
UNYIELDING = (sys.executable, "-P", "-c", MAIN)
"""The process of a row, whose imports wait for nobody where other tests run."""
LENGTH, BATCH, STEPS, RATE = 32, 2, 5, 1e-3


def nothing(progress: Progress) -> None:
    pass


def timeless(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0, step_seconds=0, finished="", memory=None)


# -- the same by hand -----------------------------------------------------------------------------


def windows(numbers: range, count: int, seed: int) -> torch.Tensor:
    """The windows of 32 tokens of these documents that a seed draws."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(numbers), generator=generator).tolist()
    stream = [token for at in order for token in [*ids(document(numbers[at])), END]]
    made = torch.tensor(stream[: 4 * count * LENGTH]).reshape(-1, LENGTH)
    return made[torch.randperm(len(made), generator=generator)[:count]]


def by_hand(folder: Path, seed: int) -> tuple[list[float], float, float]:
    """(loss of each step, loss before, loss after) of the two names that train."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.requires_grad_(False)
    parameters = [model.get_parameter(name).requires_grad_() for name in NAMES]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    held_out = windows(range(24, 30), 4, 0)

    def judged() -> float:
        with torch.no_grad():
            return float(model(input_ids=held_out, labels=held_out).loss)

    before, losses = judged(), []
    texts = windows(range(24), STEPS * BATCH, seed)
    for step in range(STEPS):
        batch = texts[step * BATCH : (step + 1) * BATCH]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        # a warm-up of a tenth of five steps is none: 1, 0.8, 0.6, 0.4, 0.2
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, before, judged()


def test_a_row_is_the_loop_written_by_hand(llama: Path, tmp_path: Path) -> None:
    losses, before, after = by_hand(llama, seed=1)
    outcome = run_job(job(conditions(llama, tmp_path), *NAMES), nothing)
    assert outcome.error == ""
    assert outcome.before is not None and outcome.after is not None
    assert [loss for _, loss in outcome.curve] == pytest.approx(losses, abs=1e-6)
    assert outcome.before.held_out == pytest.approx(before, abs=1e-6)
    assert outcome.after.held_out == pytest.approx(after, abs=1e-6)
    assert after < before - 1e-3


def test_the_same_seed_gives_the_same_bits_and_another_one_other_data(
    llama: Path, tmp_path: Path
) -> None:
    texts = conditions(llama, tmp_path)
    first, again, other = (
        timeless(run_job(job(texts, *NAMES, seed=seed), nothing)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.before == other.before
    assert first.curve != other.curve


# -- what trains ----------------------------------------------------------------------------------


def changed(
    folder: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, *names: str
) -> tuple[set[str], Outcome]:
    """The parameters of which a row changed any bit, and its outcome."""
    kept: list[Any] = []

    def load_row(*arguments: Any) -> Any:
        loaded = real(*arguments)
        before = {n: p.detach().clone() for n, p in loaded.model.named_parameters()}
        kept.append((loaded.model, before))
        return loaded

    real = loading.load_row
    monkeypatch.setattr("spectrum_tui.proving.training.load_row", load_row)
    outcome = run_job(job(conditions(folder, texts), *names), nothing)
    ((model, before),) = kept
    now = dict(model.named_parameters())
    return {
        n for n in now if not torch.equal(now[n].view(torch.int32), before[n].view(torch.int32))
    }, outcome


def test_what_is_named_trains_and_no_bit_of_anything_else(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, outcome = changed(llama, tmp_path, monkeypatch, *NAMES)
    assert names == set(NAMES)
    assert outcome.trained == 32 * 48 + 32 * 32
    assert outcome.memory is not None
    assert outcome.memory.gradients == 4 * outcome.trained
    assert outcome.memory.optimizer == 8 * outcome.trained + 2 * 4


def test_without_names_everything_trains(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, outcome = changed(llama, tmp_path, monkeypatch)
    assert names == {n for n, _ in AutoModelForCausalLM.from_pretrained(llama).named_parameters()}
    assert outcome.memory is not None
    assert outcome.memory.weights == 4 * outcome.trained


# -- how a row ends -------------------------------------------------------------------------------


def test_a_row_says_what_it_does(llama: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    outcome = run_job(job(conditions(llama, tmp_path)), said.append)
    assert list(dict.fromkeys(one.doing for one in said)) == ["loading", "judging", "training"]
    steps = [(one.step, one.loss) for one in said if one.doing == "training"]
    assert tuple(steps) == outcome.curve
    assert {one.steps for one in said[1:]} == {5}
    assert outcome.tokens == STEPS * BATCH * LENGTH
    assert (outcome.dtype, outcome.device) == ("float32", "cpu")
    assert outcome.versions["torch"] == torch.__version__


def test_a_loss_that_is_no_number_ends_the_row(llama: Path, tmp_path: Path) -> None:
    outcome = run_job(job(conditions(llama, tmp_path), rate=1e30), nothing)
    assert outcome.error == DIVERGED
    assert "--lr full=3e+29" in outcome.hint
    assert outcome.before is not None and outcome.after is None
    assert 0 < len(outcome.curve) < STEPS


def test_memory_that_runs_out_is_said_with_what_needs_less(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes")

    monkeypatch.setattr("spectrum_tui.proving.loop.Trainer.train", exhausted)
    outcome = run_job(job(conditions(llama, tmp_path)), nothing)
    assert outcome.error == OUT_OF_MEMORY
    assert outcome.hint == (
        "Less is needed with --batch 1, --checkpointing, a part of the layers, as top:25 or qlora."
    )
    assert outcome.before is not None and outcome.after is None


def test_a_model_takes_no_longer_sequences_than_it_has_places(llama: Path, tmp_path: Path) -> None:
    outcome = run_job(job(conditions(llama, tmp_path, sequence=65)), nothing)
    assert outcome.error == "The model takes 64 tokens at the most, not 65."
    assert outcome.hint == "Give --sequence 64."


def test_names_of_another_model_are_refused(llama: Path, tmp_path: Path) -> None:
    outcome = run_job(job(conditions(llama, tmp_path), *NAMES, "model.layers.7.x.weight"), nothing)
    assert outcome.error.startswith("1 of 3 names are no parameters of LlamaForCausalLM")


def test_a_model_without_a_tokenizer_is_said_in_one_line(tmp_path: Path) -> None:
    ARCHITECTURES["llama"].build().save_pretrained(tmp_path / "bare")
    outcome = run_job(job(conditions(tmp_path / "bare", tmp_path)), nothing)
    assert outcome.error.startswith(f"{tmp_path / 'bare'} has no tokenizer that can be read (")
    assert "\n" not in outcome.error
    assert outcome.hint.endswith("beside the weights: tokenizer.json and tokenizer_config.json.")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    small = replace(
        ARCHITECTURES["llama"], options={**ARCHITECTURES["llama"].options, "vocab_size": 64}
    )
    small.build().save_pretrained(tmp_path / "small")
    tokenizer().save_pretrained(tmp_path / "small")
    outcome = run_job(job(conditions(tmp_path / "small", tmp_path)), nothing)
    assert outcome.error == ("The tokenizer has a token 95, the model only 64: it is not its own.")


def test_an_encoder_learns_masked_tokens_with_a_new_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model("bert", tmp_path / "bert", around=True)
    headless = tmp_path / "headless"
    AutoModelForMaskedLM.from_pretrained(folder).bert.save_pretrained(headless)
    tokenizer(around=True).save_pretrained(headless)
    name = "encoder.layer.1.output.dense.weight"
    names, outcome = changed(headless, tmp_path, monkeypatch, name)
    assert outcome.error == ""
    assert f"bert.{name}" in names
    assert {n for n in names if n.startswith("bert.")} == {f"bert.{name}"}
    assert any(n.startswith("cls.") for n in names)


def test_a_model_that_answers_learns_too(tmp_path: Path) -> None:
    folder = save_model("t5", tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": 0}))
    outcome = run_job(job(conditions(folder, tmp_path)), nothing)
    assert outcome.error == "" and len(outcome.curve) == STEPS


def test_a_model_of_no_language_is_refused(tmp_path: Path) -> None:
    folder = save_model("vit", tmp_path / "vit")
    outcome = run_job(job(conditions(folder, tmp_path)), nothing)
    assert "is no language model" in outcome.error


def test_in_a_process_of_its_own_a_row_is_the_same_bit_for_bit(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: two add up in another order
    asked = job(conditions(llama, tmp_path), *NAMES)
    said: list[Progress] = []
    outcome, lasts = RowProcess(UNYIELDING).run(asked, said.append)
    assert outcome is not None and lasts
    assert timeless(outcome) == timeless(run_job(asked, nothing))
    assert [one.step for one in said if one.doing == "training"] == list(range(1, STEPS + 1))
    assert outcome.memory is not None and outcome.memory.peak_process > 0
