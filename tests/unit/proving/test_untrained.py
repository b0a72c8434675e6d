"""Losses of the untrained model: judged once where they are the same bit for bit, else again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM

from spectrum_tui.core.proof.rows import Conditions, Outcome
from spectrum_tui.proving.batches import Tokens
from spectrum_tui.proving.loop import Trainer
from spectrum_tui.proving.row import run_job
from tests.unit.proving.tiny_language import conditions, job, save_model, tokenizer

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sequences of every text that is judged."""
    found: list[int] = []
    real = Trainer.judge

    def judge(trainer: Trainer, sequences: Sequence[Tokens]) -> float:
        found.append(len(sequences))
        return real(trainer, sequences)

    monkeypatch.setattr(Trainer, "judge", judge)
    return found


def row(texts: Conditions, *names: str, seed: int = 1) -> Outcome:
    outcome = run_job(job(texts, *names, seed=seed, steps=2), lambda progress: None)
    assert outcome.error == "" and outcome.seconds > 0
    return replace(outcome, seconds=0, step_seconds=0, finished="", memory=None)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "untrained").iterdir())


def test_rows_of_the_same_model_share_them_bit_for_bit(
    llama: Path, tmp_path: Path, judged: list[int]
) -> None:
    texts = conditions(llama, tmp_path)
    first = row(texts, NAME)
    assert len(judged) == 4, "two texts, before and after"
    asked = [((NAME,), 1), ((NAME,), 2), ((), 3)]
    shared = [row(texts, *names, seed=seed) for names, seed in asked]
    assert len(judged) == 4 + 3 * 2
    assert shared[0] == first
    alone = []
    for names, seed in asked:
        for path in files(tmp_path):
            path.unlink()
        alone.append(row(texts, *names, seed=seed))
    assert len(judged) == 10 + 3 * 4
    assert shared == alone


def test_other_conditions_are_judged_again(llama: Path, tmp_path: Path, judged: list[int]) -> None:
    texts = conditions(llama, tmp_path)
    row(texts)
    for other in (
        replace(texts, judged=3),
        replace(texts, sequence=16),
        replace(texts, dtype="bfloat16"),
        replace(texts, kept="", digests=texts.digests[:2]),
        replace(texts, files="another model in the same place"),
    ):
        before = len(judged)
        row(other)
        assert len(judged) - before == (4 if other.kept else 2)
    assert len(files(tmp_path)) == 6


def test_a_damaged_file_is_judged_again_and_replaced(
    llama: Path, tmp_path: Path, judged: list[int]
) -> None:
    texts = conditions(llama, tmp_path)
    first = row(texts)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole.replace(b"held_out", b"held_in"), b""):
        path.write_bytes(damaged)
        assert row(texts) == first
        assert path.read_bytes() == whole
    assert len(judged) == 4 * 4


def test_a_head_that_is_drawn_by_the_seed_is_shared_by_rows_of_that_seed(
    tmp_path: Path, judged: list[int]
) -> None:
    folder = save_model("bert", tmp_path / "bert", around=True)
    headless = tmp_path / "headless"
    AutoModelForMaskedLM.from_pretrained(folder).bert.save_pretrained(headless)
    tokenizer(around=True).save_pretrained(headless)
    texts = conditions(headless, tmp_path)
    found = [row(texts, seed=seed).before for seed in (1, 2, 1)]
    assert found[0] == found[2] != found[1]
    assert len(judged) == 4 + 4 + 2
