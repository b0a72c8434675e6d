"""`spectrum-tui prove`: what it says, asks and refuses, with rows that train nothing; and once with
rows that do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from spectrum_tui.cli.main import main
from spectrum_tui.core.proof.rows import Job, Outcome, Progress
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.proving import runner
from spectrum_tui.proving.process import RowProcess
from tests import made
from tests.commands import Capture, refused
from tests.unit.proving import fake_row
from tests.unit.proving.texts import document

pytestmark = pytest.mark.usefixtures("in_empty_folder")

SHORT = ("--methods", "top:50,random:50", "--lr", "2e-4", "--steps", "8", "--seeds", "2")


class Rows(RowProcess):
    """Rows that are over at once; those of a method in `errors` fail."""

    errors: ClassVar[dict[str, str]] = {}

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        for step in range(1, job.row.steps + 1):
            tell(Progress(doing="training", step=step, steps=job.row.steps, loss=1.0))
        outcome = fake_row.fake_outcome(job)
        return replace(outcome, error=self.errors.get(outcome.method, "")), True


@pytest.fixture
def scores(tmp_path: Path) -> str:
    return str(save_scores(made.with_parameters(made.result(layers=12)), tmp_path / "a").scores)


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": document(n)}) + "\n" for n in range(20)))
    return str(path)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> type[Rows]:
    monkeypatch.setattr(runner.Runner.__init__, "__kwdefaults__", {"again": False, "start": Rows})
    monkeypatch.setattr(Rows, "errors", {})
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: False)
    return Rows


def test_the_table_and_the_verdict_are_data_and_all_else_words(
    scores: str, data: str, rows: type[Rows], capsys: Capture
) -> None:
    assert main(["prove", scores, "--data", data, *SHORT, "-o", "out"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["method", "held-out"]
    assert [line.split()[0] for line in lines[1:3]] == ["top:50", "random:50"]
    assert any("random:50" in line for line in lines[3:])
    assert "made/llama: top:50, random:50; 2 seeds each" in err
    assert "20 documents" in err and "held out, by hash" in err and "to be kept: " in err
    assert "8 steps of 2 × 512 tokens: up to 8.19 K tokens a row" in err
    assert re.search(r"memory, an estimate in float32: top:50 [\d.]+ [MG]B, random:50 ", err)
    assert "top:50, rate 0.0002, seed 1: held-out loss 3.000 → 2.061, kept text 4.000 → " in err
    assert "wrote out/proof.json, proof.md and proof.svg" in err
    assert (Path("out") / "proof.svg").exists()


def test_json_is_the_file(scores: str, data: str, rows: type[Rows], capsys: Capture) -> None:
    command = ["prove", scores, "--data", data, *SHORT, "--json", "--price", "2.5"]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    assert out == Path("proof_made-llama/proof.json").read_text()
    proof = json.loads(out)
    assert proof["price"] == 2.5 and len(proof["outcomes"]) == 4


def test_rows_that_failed_are_counted(
    scores: str, data: str, rows: type[Rows], capsys: Capture
) -> None:
    rows.errors["top:50"] = "out of memory"
    assert main(["prove", scores, "--data", data, *SHORT]) == 1
    _, err = capsys.readouterr()
    assert "top:50, rate 0.0002, seed 0: failed: out of memory" in err
    assert "2 rows failed: --again runs them again" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", "0"), "--steps"),
        (("--seeds", "x"), "--seeds"),
        (("--judged", "0"), "--judged"),
        (("--methods", "best"), "There is no method 'best'."),
        (("--lr", "lora=1"), "No method 'lora' is compared"),
        (("--price", "much"), "The price 'much' is no amount per hour."),
        (("--batch", "0"), "batch"),
        (("--gpus", "3", "--batch", "2"), "A batch of 2 cannot be shared by 3 processes."),
        (("--device", "gpu"), "'gpu' is no device. Give auto, cpu, cuda, cuda:1 or mps."),
        (("--lr", "=1e-4"), "The rate '=1e-4' has no method."),
        (("--lr", "1e-4,2e-4"), "The rate '2e-4' is the second for its method."),
        (("--methods", "metric:effective_rank:25"), "effective_rank"),
        (("--keep", "nothing.txt"), "nothing.txt"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    options: tuple[str, ...], said: str, scores: str, data: str, capsys: Capture
) -> None:
    assert said in refused(capsys, "prove", scores, "--data", data, *options)


def test_more_than_an_hour_needs_to_be_agreed(
    scores: str, data: str, rows: type[Rows], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "seconds_in_all", lambda *_, **__: 7e3)
    assert main(["prove", scores, "--data", data, *SHORT]) == 2
    _, err = capsys.readouterr()
    assert "The rows take about 1 h 56 min, and nobody is there to be asked." in err
    assert main(["prove", scores, "--data", data, *SHORT, "--yes"]) == 0
