"""The table of a proof: every figure where it belongs, and nothing in a name that is obeyed."""

from __future__ import annotations

import math
from dataclasses import replace

from spectrum_tui.cli.output import aligned
from spectrum_tui.core.proof.proof import Proof, Verdict
from spectrum_tui.core.proof.rows import Outcome
from spectrum_tui.core.proof.table import cells, markdown
from tests.unit.proof.proofs import outcome, outcomes, proof

LOSSES = {"full": [2.70, 2.71, 2.69], "random:25": [2.74, 2.70, math.nan]}
KEPT = {"full": [3.8, 3.81, 3.9], "random:25": [3.6, 3.61, 3.6]}
FAILED = Outcome(method="top:25", seed=0, rate=1e-4, steps=9, error="out of memory", hint="--batch")


def column(made: Proof, title: str, *, wide: bool = True) -> list[str]:
    rows = cells(made, wide=wide)
    return [row[rows[0].index(title)] for row in rows[1:]]


MADE = replace(proof([*outcomes(LOSSES, KEPT), FAILED]), price=3.6)


def test_every_figure_is_in_its_column() -> None:
    assert cells(MADE, wide=True)[0] == (
        "method", "rate", "held-out loss", "change", "kept loss", "kept change", "trained",
        "share", "weights", "gradients", "optimizer", "peak", "tokens", "step", "time", "cost",
    )  # fmt: skip
    assert column(MADE, "method") == ["full", "random:25", "top:25"]
    assert column(MADE, "rate") == ["2e-4", "2e-4", "–"]
    assert column(MADE, "held-out loss") == [
        "2.70 ± 0.01", "2.72 ± 0.03 (2 of 3)", "out of memory"
    ]  # fmt: skip
    assert column(MADE, "change") == ["−0.46", "−0.44", "–"]
    assert column(MADE, "kept change") == ["+0.143", "−0.089", "–"]
    assert column(MADE, "trained") == ["1.00 B", "250 M", "–"]
    assert column(MADE, "share") == ["100.0 %", "25.0 %", "–"]
    assert column(MADE, "gradients") == ["2.00 GB", "500 MB", "–"]
    assert column(MADE, "peak") == ["9.00 GB", "4.50 GB", "–"]
    assert column(MADE, "step") == ["400 ms", "250 ms", "–"]
    assert column(MADE, "cost") == ["0.16", "0.09", "–"]


def test_a_terminal_has_80_columns_and_what_is_not_known_no_column() -> None:
    plain = proof(outcomes({"full": [2.70, 2.71], "random:25": [2.74, 2.70]}, KEPT))
    assert max(map(len, aligned(cells(plain, wide=False)))) <= 80
    titles = cells(proof([outcome("full", 0, 2.7)]), wide=False)[0]
    assert titles == ("method", "held-out loss", "change", "trained", "peak", "step")
    assert column(proof([outcome("full", 0, 2.7)]), "held-out loss") == ["2.700"]


def test_the_process_has_the_peak_where_no_device_has_memory_of_its_own() -> None:
    row = outcome("full", 0, 2.7)
    assert row.memory is not None
    on_cpu = replace(row, memory=replace(row.memory, peak_device=0))
    assert column(proof([on_cpu]), "peak") == ["1.00 GB"]
    assert "peak" not in cells(proof([replace(row, memory=None)]), wide=True)[0]


def test_the_page_says_what_it_rests_on() -> None:
    trials = [
        replace(outcome("full", 0, loss), rate=rate, trial=True)
        for rate, loss in ((2e-5, 3.0), (7e-6, 3.1), (6e-5, 2.9))
    ]
    dtypes = [
        replace(outcome("full", 0, 2.7), dtype="bfloat16"),
        replace(outcome("lora:100", 0, 2.7), dtype="float32"),
    ]
    made = replace(
        MADE,
        outcomes=(*MADE.outcomes, *trials, *dtypes),
        rates={"full": 6e-5},
        found=("full",),
        verdict=Verdict(lines=("No difference was found.",)),
        warning="the model is another one",
    )
    text = markdown(made)
    for line in (
        "# Proof: made/llama",
        "- No difference was found.",
        "| full | 2e-4 | 2.70 ± 0.01 | −0.46 |",
        "- Every row: 200 steps of 2 × 512 tokens, 3 seeds; AdamW, warm-up over 10 % of the steps",
        "- Trained on: a.jsonl: 100 documents, 12,000 tokens, SHA-256 1",
        "- Rates found by short trials with seed 0, by the loss on text that no row trains on or "
        "is judged by: full 6e-5 of 7e-6, 2e-5, 6e-5, the highest tried",
        "- Note: the model is another one",
        "- What trains is in bfloat16 (full), float32 (lora:100). In bfloat16, ",
        "- Made on cuda NVIDIA H200, torch 2.9, spectrum-tui 0.1.0, 2026-01-31 12:00 UTC",
    ):
        assert line in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_proof_that_was_interrupted_says_so() -> None:
    whole = proof(outcomes({"full": [2.7] * 3, "top:25": [2.7] * 3}))
    assert "Not finished" not in markdown(whole)
    part = replace(whole, outcomes=whole.outcomes[:4])
    assert "- Not finished: 4 of 6 rows have run. The same command goes on." in markdown(part)


def test_names_are_shown_and_not_obeyed() -> None:
    name = "policy:a|b`<script>\x1b[2J_x_.yaml"
    text = markdown(proof([outcome(name, 0, 2.7)], model="<b>m</b>"))
    assert "\x1b" not in text and "<script" not in text.replace("\\<", "")
    assert r"| policy:a\|b\`\<script\>?\[2J_x\_.yaml |" in text
    assert "\x1b" not in " ".join(cells(proof([outcome(name, 0, 2.7)]), wide=False)[1])
