"""A proof in the app whose rows train, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens.proof import ProofScreen
from spectrum_tui.app.screens.proof_setup import ProofSetupScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.cli.main import main
from spectrum_tui.core.proof.rows import Job, Outcome, Progress
from spectrum_tui.core.proof.store import read_proof
from spectrum_tui.core.settings import Settings
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.row import run_job
from tests.styles import styles_are_parsed_once
from tests.ui.way import SIZE, at
from tests.ui.worker_control import DirectControl, until
from tests.unit.proving.texts import document

__all__ = ["styles_are_parsed_once"]


class Row(RowProcess):
    """A row without a process of its own, which imports torch for 5 s."""

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        return run_job(job, tell), True


async def test_a_tiny_model_is_trained(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DirectControl(monkeypatch)
    monkeypatch.setattr("spectrum_tui.proving.process.RowProcess", Row)
    (tmp_path / "texts").mkdir()
    for number in range(12):
        (tmp_path / "texts" / f"{number}.txt").write_text(document(number))
    assert main(["scan", str(llama), "--output-dir", str(tmp_path), "--device", "cpu"]) == 0
    (scores,) = (tmp_path / "model_snr_results").glob("snr_results_*0.json")
    app = SpectrumApp(Settings(top_percent=50, device="cpu"), results=scores)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen))
        await pilot.press("P")
        await until(pilot, lambda: at(app, ProofSetupScreen))
        screen = app.screen
        assert isinstance(screen, ProofSetupScreen)
        field = screen.query_one("#field-model", Field)
        await until(pilot, lambda: "which is not here. Say where the model is." in field.help_text)
        fields = {"data": f"{tmp_path}/texts", "kept": "none", "steps": "4", "seeds": "1"}
        for name, text in {
            **fields,
            "rates": "1e-3",
            "sequence": "32",
            "model": str(llama),
        }.items():
            screen.query_one(f"#{name}", Input).value = text
        offers = screen.methods.offers
        screen.methods.set_offers([replace(one, checked=one.kind == "top") for one in offers])
        await pilot.press("enter")
        await until(pilot, lambda: at(app, ProofScreen))
        proof = app.screen
        assert isinstance(proof, ProofScreen)
        await until(pilot, lambda: proof.view.phase == "finished")
    (outcome,) = read_proof(proof.view.folder).outcomes
    assert outcome.error == ""
    assert [step for step, _ in outcome.curve] == [1, 2, 3, 4]
    assert outcome.before is not None and outcome.after is not None
    assert outcome.after.held_out < outcome.before.held_out
    assert "Only one seed was trained" in str(proof._said.content)
