"""From a scan over a probe to a proof: what the gradient ranks first is what a row trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.probing.records import Probed, ProbeJob, Said
from spectrum_tui.core.proof.rows import Job, Outcome, Progress
from spectrum_tui.core.proof.store import read_proof
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.proving import runner
from spectrum_tui.proving.probing.asking import Probe
from spectrum_tui.proving.probing.child import probe
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.row import run_job
from tests.unit.proving.texts import document

PERCENT = 50


class Rows(RowProcess):
    """Rows without processes of their own, which would import torch for 3 s each."""

    trained: list[tuple[str, tuple[str, ...]]]

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        self.trained.append((job.row.method, job.row.names))
        return run_job(job, tell), True


def probed_here(asking: Any, job: ProbeJob, tell: Callable[[Said], None]) -> Probed:
    return probe(job, tell)


def test_the_layers_that_the_gradient_ranks_first_are_trained(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Probe, "_outcome", probed_here)
    monkeypatch.setattr(runner.Runner.__init__, "__kwdefaults__", {"again": False, "start": Rows})
    monkeypatch.setattr(Rows, "trained", [], raising=False)
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": document(n)}) + "\n" for n in range(20)))
    assert main(["scan", str(llama), "--output-dir", str(tmp_path), "--device", "cpu"]) == 0
    (scores,) = (tmp_path / "model_snr_results").glob("snr_results_*0.json")
    common = ["--data", str(data), "--batch", "2", "--sequence", "32", "--device", "cpu"]
    probing = ["--batches", "2", "--weights", str(llama)]
    assert main(["probe", str(scores), *common, *probing]) == 0
    ranked = load_result(scores).with_metric("gradient").scores
    out = tmp_path / "proof"
    proving = ["--model", str(llama), "--keep", "none", "--steps", "4", "--seeds", "1"]
    methods = ["--methods", f"metric:gradient:{PERCENT},top:{PERCENT}", "--lr", "1e-3"]
    more = ["--no-embeddings", "-o", str(out)]
    assert main(["prove", str(scores), *common, *proving, *methods, *more]) == 0
    (by_gradient, names), (by_snr, others) = Rows.trained
    assert (by_gradient, by_snr) == (f"metric:gradient:{PERCENT}", f"top:{PERCENT}")
    wanted: set[str] = set()
    for kind, name in enumerate(ranked.type_names):
        rows = [row for row in range(len(ranked)) if ranked.type_ids[row] == kind]
        best = sorted(rows, key=lambda row: -ranked.values[row])[: len(rows) * PERCENT // 100]
        wanted |= {ranked.layers[row] for row in best if not name.startswith(("model.e", "lm_"))}
    assert {name.removesuffix(".weight") for name in names} == wanted != set()
    assert set(names) != set(others)
    proof = read_proof(out)
    assert [one.error for one in proof.outcomes] == ["", ""]
    for one in proof.outcomes:
        assert one.before is not None and one.after is not None
        assert one.after.held_out < one.before.held_out
    assert f"metric:gradient:{PERCENT}" in capsys.readouterr().out
