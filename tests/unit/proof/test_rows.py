"""The records of a proof as JSON, and the name that a row's result is found by."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from spectrum_tui.core.proof.rows import (
    Bytes,
    Conditions,
    Job,
    Losses,
    Outcome,
    Row,
    job_of,
    job_text,
    outcome_data,
    outcome_of,
)

CONDITIONS = Conditions(
    model="m", train="/a/train.jsonl", held_out="/a/held.jsonl", digests=("1", "2")
)
ROW = Row(method="top:25", seed=0, rate=2e-4, steps=64, names=("a.weight",))
JOB = Job(conditions=CONDITIONS, row=ROW)
OUTCOME = Outcome(
    method="top:25",
    seed=0,
    rate=2e-4,
    steps=2,
    before=Losses(held_out=3.5),
    after=Losses(held_out=3.25, kept=1.0),
    curve=((1, 3.0), (2, math.inf)),
    memory=Bytes(weights=4, gradients=4, optimizer=8),
    versions={"torch": "2"},
)


def test_an_outcome_is_read_back_as_it_was() -> None:
    assert outcome_of(json.loads(json.dumps(outcome_data(OUTCOME), allow_nan=False))) == OUTCOME
    failed = Outcome(method="full", seed=1, rate=1e-5, steps=4, error="out of memory")
    assert outcome_of(json.loads(json.dumps(outcome_data(failed)))) == failed


@pytest.mark.parametrize(
    "change",
    [{"seed": "0"}, {"before": 3}, {"curve": [[1]]}, {"extra": 1}, {"memory": {"weights": 1}}],
)
def test_what_is_no_outcome_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the outcome"):
        outcome_of(outcome_data(OUTCOME) | change)


def test_a_job_is_read_back_as_it_was() -> None:
    assert job_of(job_text(JOB)) == JOB
    with pytest.raises(ValueError, match="not the job"):
        job_of('{"conditions": {}, "row": 1}')


def test_a_result_is_found_wherever_the_texts_lie_and_for_no_other_training() -> None:
    moved = replace(CONDITIONS, train="/b/train.jsonl", held_out="/b/held.jsonl")
    assert replace(JOB, conditions=moved).key == JOB.key
    for other in (
        replace(JOB, conditions=replace(CONDITIONS, digests=("1", "3"))),
        replace(JOB, row=replace(ROW, seed=1)),
        replace(JOB, row=replace(ROW, names=("b.weight",))),
        replace(JOB, row=replace(ROW, steps=65)),
    ):
        assert other.key != JOB.key
