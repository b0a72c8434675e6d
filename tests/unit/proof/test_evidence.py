"""EVIDENCE.md: its words follow from the numbers, and it is what its files make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from spectrum_tui.core.proof.proof import Proof, proof_of, proof_text
from spectrum_tui.core.proof.summary import summaries
from spectrum_tui.core.proof.verdict import verdict
from tests.benchmarks import evidence_page
from tests.benchmarks.evidence_page import (
    FIRST,
    KEPT_HERE,
    PAGE,
    expected_seconds,
    page,
    small,
    what_it_takes,
)
from tests.unit.proof.proofs import outcomes, proof

CHANCE = [2.80, 2.81, 2.82]
LOW, ALIKE, HIGH = [2.70, 2.71, 2.72001], [2.79, 2.83, 2.81], [2.90, 2.91, 2.92001]


def proved(losses: Mapping[str, Sequence[float]], kept: Any = None) -> Proof:
    made = proof(outcomes(losses, kept))
    return replace(made, verdict=verdict(summaries(made.outcomes, made.methods)))


def known(text: str) -> str:
    return text.split("## What is known")[1].split("## Runs", maxsplit=1)[0]


def first() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((KEPT_HERE / FIRST).read_text(encoding="utf-8"))
    return data


def test_the_committed_page_is_what_the_committed_files_make() -> None:
    made = page(evidence_page.kept(), first())
    assert PAGE.read_text(encoding="utf-8") == made, "run python -m tests.benchmarks.evidence_page"


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (LOW, "lower `top:25`"),
        (HIGH, "higher `top:25`"),
        (ALIKE, "no difference found `top:25`"),
    ],
)
def test_the_words_are_chosen_by_what_was_found(losses: list[float], said: str) -> None:
    made = proved({"top:25": losses, "random:25": CHANCE})
    text = known(page({"smollm2-pydoc": made}, first()))
    assert f"Held-out loss against random layers of the same share: {said}" in text
    counts = [said.startswith(words) for words in ("lower", "higher", "no")]
    in_all = "learned more in {:d}, less in {:d}, no difference found in {:d}.".format(*counts)
    assert f"`top` against random layers of the same share, 1 comparison: {in_all}" in text
    assert "6 of 6 rows have run" in text
    assert "Not run by `prove` yet: SmolLM2-135M on the presidents' addresses" in text


def test_forgetting_and_savings_are_told_beside_it() -> None:
    kept = {"top:25": LOW, "random:25": CHANCE, "full": HIGH}
    made = proved({"top:25": ALIKE, "random:25": CHANCE, "full": LOW}, kept)
    text = known(page({"minilm-pydoc": made}, first()))
    assert "Loss on the kept text against them: lower `top:25`." in text
    assert "Peak memory, as a share of `full`: `top:25` 50 %" in text
    assert "Time of a step, as a share of `full`: `top:25` 62 %" in text


def test_what_was_not_compared_or_not_finished_is_said() -> None:
    cut = replace(proved({"top:25": ALIKE[:2]}), methods=("top:25", "random:25"))
    text = page({"other": cut}, first())
    assert "Nothing can be said of selections against random layers." in known(text)
    assert "2 of 6 rows have run" in known(text)
    assert "None has been made by `prove` yet." not in text
    assert "None has been made by `prove` yet." in page({}, first())


def test_the_first_run_is_judged_by_its_numbers() -> None:
    data = first()
    chance = next(row for row in data["rows"] if row["by"] == "random" and row["percent"] == 50)
    chance["documentation"] = [[2.746], [2.730]]
    text = known(page({}, data))
    higher, neither = text.split("higher than with every random draw: ")[1].split("; neither: ")
    assert "highest SNR (Spectrum) 50 %" not in higher
    assert neither.startswith("highest SNR (Spectrum) 50 % at 2e-4.")
    assert "lower than with every random draw: gradient norm over weight norm 25 % at 2e-4;" in text
    assert "not trained on rose for no row" in text
    chance["kept"] = [[[0.01, -0.1]]]
    assert "not trained on rose for random." in page({}, data)


def test_a_small_copy_is_a_proof_without_curves_and_folders() -> None:
    made = proved({"top:25": ALIKE, "random:25": CHANCE})
    texts = {name: replace(one, files=("/home/me/a.jsonl",)) for name, one in made.texts.items()}
    conditions = replace(made.conditions, model="/home/me/llama", kept="/home/me/kept.jsonl")
    made = replace(made, scores="/home/me/s.json", texts=texts, conditions=conditions)
    text = proof_text(small(made, {"CPU": "made by hand"}))
    assert "/home/me" not in text
    again = proof_of(json.loads(text))
    assert not any(one.curve for one in again.outcomes)
    assert again.verdict == made.verdict
    assert "CPU made by hand" in page({"other": again}, first())


def test_a_night_is_what_three_seeds_take_on_two_cores() -> None:
    hours = expected_seconds(3, 200, cores=2) / 3600
    assert 5 < hours < 12
    assert expected_seconds(5, 200, cores=2) > 1.3 * hours * 3600
    assert expected_seconds(3, 200, cores=1) > expected_seconds(3, 200, cores=2)
    assert what_it_takes(3, 200, cores=2).endswith("10.9 times their spread or more")
    assert what_it_takes(1, 200, cores=2).endswith("one seed finds no difference")
