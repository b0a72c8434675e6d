"""A proof in its states, made of frozen data."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.app import proof_offers, proof_setup
from spectrum_tui.app.proof_run import ProofView, saved_view
from spectrum_tui.app.screens import proof_setup as proof_setup_screen
from spectrum_tui.app.screens.proof import ProofScreen, Saved
from spectrum_tui.app.screens.proof_setup import ProofSetupScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rows import OUT_OF_MEMORY, Outcome, Progress, Row
from spectrum_tui.core.proof.summary import summaries
from spectrum_tui.core.proof.verdict import verdict
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots.shown import Prepare, still
from tests.unit.proof.proofs import outcome, proof

LOSSES = {"full": 2.62, "top:25": 2.74, "random:25": 2.71, "bottom:25": 2.79, "lora": 2.70}
METHODS = (*LOSSES, "qlora")
FOLDER = Path("/home/you/work/model_snr_results/proof_made-llama-8b")
DATA = "412 documents, about 1.20 M tokens; 41 are held out"
KEPT = "79 documents, about 116 K tokens"


def curve(method: str, seed: int, steps: int = 200) -> tuple[tuple[int, float], ...]:
    """A loss that falls, with the noise of its batches."""
    noise = random.Random(f"{method}{seed}")
    end = LOSSES[method]
    return tuple(
        (step, end + (3.3 - end) * math.exp(-step / 40) + 0.12 * (noise.random() - 0.5))
        for step in range(1, steps + 1)
    )


def outcomes() -> tuple[Outcome, ...]:
    """Three seeds of five methods, and one without enough memory."""
    found = []
    for seed in range(3):
        for method, loss in LOSSES.items():
            noise = random.Random(f"{method}{seed}").random() / 100
            one = outcome(method, seed, loss + noise, 3.70 + loss / 50 + noise)
            found.append(replace(one, curve=curve(method, seed)))
    failed = replace(
        outcome("qlora", 0, 2.7),
        before=None,
        after=None,
        curve=(),
        memory=None,
        error=OUT_OF_MEMORY,
        hint="Less is needed with --batch 1, --sequence 256 or --checkpointing.",
    )
    return (*found, failed)


def finished() -> Proof:
    """All rows, and what may be said of them."""
    found = outcomes()
    return replace(
        proof(found, "made/llama-8b"),
        methods=METHODS,
        verdict=verdict(summaries(found, METHODS)),
    )


def running() -> ProofView:
    """The sixth row of eighteen."""
    view = saved_view(finished(), FOLDER)
    row = Row(method="top:25", seed=1, rate=2e-4, steps=200)
    return replace(
        view,
        phase="running",
        outcomes=view.outcomes[:6],
        row=row,
        number=7,
        expected=18,
        progress=Progress(doing="training", step=120, steps=200, loss=2.713),
        curve=curve("top:25", 1)[:120],
        share=0.36,
        left=734.0,
        proof=None,
    )


class Frozen(Saved):
    """A proof in which no row goes on, but which stops and begins."""

    def stop(self) -> None:
        self.view = replace(self.view, phase="stopped")

    def begin(self, *, again: bool = False) -> None:
        self.view = running()


def proof_screen(state: str) -> ProofScreen:
    """The proof: running, stopped or finished."""
    match state:
        case "running":
            view = running()
        case "stopped":
            part = outcomes()[:6]
            said = verdict(summaries(part, METHODS))
            whole = replace(finished(), outcomes=part, verdict=said)
            view = replace(saved_view(whole, FOLDER), phase="stopped")
        case _:
            view = saved_view(finished(), FOLDER)
    return ProofScreen(Frozen(view))


def set_up(
    monkeypatch: pytest.MonkeyPatch, state: str = "data"
) -> tuple[ProofSetupScreen, Prepare]:
    """The set-up: with data, or of a selection that is shaped, without adapters."""
    lacking = frozenset({"peft", "bitsandbytes"} if state == "shaped" else ())
    monkeypatch.setattr(proof_offers, "missing", lambda: lacking)
    monkeypatch.setattr(proof_setup, "read_data", lambda text: DATA)
    monkeypatch.setattr(proof_setup, "read_texts", lambda text: KEPT)
    monkeypatch.setattr(proof_setup, "folder_of", lambda result: str(FOLDER))
    monkeypatch.setattr(proof_setup_screen, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: False)
    result = made.with_parameters(made.result(layers=32, model="made/llama-8b"))
    shaped = {"pins": ("model.layers.3.mlp.up_proj",)} if state == "shaped" else {}
    screen = ProofSetupScreen(ResultState(result, Settings(top_percent=25, **shaped)))  # type: ignore[arg-type]

    def type_data() -> None:
        if state == "data":
            screen.query_one("#data").value = "data/support_chats.jsonl"  # type: ignore[attr-defined]
            screen.methods.focus()

    return screen, still(before=type_data)
