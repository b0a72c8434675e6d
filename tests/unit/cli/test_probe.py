"""`spectrum-tui probe`, from data to files: the child process is answered for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.cli import probe
from spectrum_tui.cli.main import main
from spectrum_tui.core.saved.store import load_result, save_scores
from spectrum_tui.core.settings import DATA_METRICS
from spectrum_tui.proving.probing import asking
from tests import made

ANSWER = """
import json, sys
from spectrum_tui.core.probing.records import Doing, Plan, Probed, job_of, said_text
job = job_of(sys.stdin.readline())
plan = Plan(passes=2, recompute=True, hold=False, memory=10**9, device="cpu", dtype="float32",
            tokens=64, model_class="LlamaForCausalLM")
values = tuple({"gradient": (float(n),), "gradient_snr": (1.0,), "fisher": (2.0,)}
               for n, _ in enumerate(job.targets))
print("noise")
for said in (plan, Doing(step=1, steps=2), Probed(values=values, loss=1.5, batches=job.batches,
             tokens=64, model_class="LlamaForCausalLM", device="cpu", dtype="float32",
             notes=("a note",))):
    print(said_text(said), flush=True)
"""
REFUSAL = """
import sys
from spectrum_tui.core.probing.records import Probed, said_text
sys.stdin.readline()
print(said_text(Probed(error="It cannot be.", hint="Do otherwise.")), flush=True)
"""


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Saved scores of a model whose folder is there."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "text.txt").write_text("Some words.")
    return save_scores(made.result(), tmp_path / "out").scores


def answered(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    command = (sys.executable, "-P", "-c", code)
    original = asking.Probe.__init__

    def begun(self: Any, asked: Any) -> None:
        original(self, asked, command)

    monkeypatch.setattr(asking.Probe, "__init__", begun)


def asked(scores: Path, *more: str) -> list[str]:
    folder = scores.parent.parent.parent
    return ["probe", str(scores), "--weights", str(folder / "weights"), "--data",
            str(folder / "text.txt"), *more]  # fmt: skip


def test_the_metrics_stand_in_the_file_that_was_probed(
    scores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(monkeypatch, ANSWER)
    before = scores.read_bytes()
    assert main(asked(scores)) == 0
    captured = capsys.readouterr()
    assert scores.read_bytes() == before
    result = load_result(scores)
    assert result.metrics[-len(DATA_METRICS) :] == DATA_METRICS
    assert result.with_metric("gradient").scores.values[:3].tolist() == [0.0, 1.0, 2.0]
    assert "16 batches of 2 × 512 tokens as LlamaForCausalLM" in result.provenance.notes[-1]
    assert captured.out.splitlines()[0].split() == ["type", *DATA_METRICS]
    assert captured.out.splitlines()[-1].startswith("all ")
    for words in (
        "in 2 passes, a block at a time, about 1.00 GB",
        "2 batches, less than 1 s",
        "loss 1.5",
        "note: a note",
    ):
        assert words in captured.err


def test_a_scan_that_gives_the_same_scores_again_loses_none(
    scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, ANSWER)
    assert main(asked(scores)) == 0
    assert save_scores(made.result(), scores.parent.parent).scores == scores
    assert load_result(scores).metrics[-len(DATA_METRICS) :] == DATA_METRICS


def test_every_command_ranks_by_them(
    scores: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    capsys.readouterr()
    assert main(["yaml", str(scores), "--metric", "gradient"]) == 2
    assert f"spectrum-tui probe {scores} --data FILE" in capsys.readouterr().err
    answered(monkeypatch, ANSWER)
    other = tmp_path / "other"
    assert main(asked(scores, "--metric", "gradient", "-o", str(other), "--json")) == 0
    data = json.loads(capsys.readouterr().out)
    file = Path(data["files"]["scores"])
    assert file.parent.parent == other and file.name.endswith("_gradient.json")
    assert load_result(file).scores.metric == "gradient"
    assert data["layers"][2]["metrics"] == {
        "gradient": 2.0, "gradient_snr": 1.0, "fisher": 2.0, "activation": None,
    }  # fmt: skip
    assert main(["yaml", str(scores), "--metric", "gradient"]) == 0
    assert "gradient" in capsys.readouterr().out
    assert main(["export", str(scores), "--as", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0].count("gradient") == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (REFUSAL, "It cannot be. Do otherwise."),
        ("import sys; sys.exit(3)", "The probe ended with exit code 3."),
        ("import os; os.kill(os.getpid(), 9)", "The probe was killed (SIGKILL; out of memory?)."),
    ],
)
def test_a_probe_that_fails_is_one_line(
    scores: Path,
    code: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered(monkeypatch, code)
    assert main(asked(scores)) == 2
    assert words in capsys.readouterr().err
    assert "gradient" not in load_result(scores).metrics


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batches", "1"], "--batches"),
        (["--batch", "0"], "batch"),
        (["--sequence", "x"], "sequence"),
        (["--memory", "-3"], "'-3' is not a memory size"),
        (["--metric", "hessian"], "There is no metric 'hessian'"),
        (["--dtype", "int8"], "invalid choice"),
    ],
)
def test_what_is_typed_wrong_is_said_before_anything_starts(
    scores: Path,
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(probe, "Probe", None)
    assert main(asked(scores, *options)) == 2
    assert words in capsys.readouterr().err


def test_data_that_are_none_are_said_before_anything_starts(
    scores: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered(monkeypatch, "raise SystemExit(9)")
    (tmp_path / "text.txt").write_text("")
    assert main(asked(scores)) == 2
    assert "all is blank" in capsys.readouterr().err
    (tmp_path / "text.txt").unlink()
    assert main(asked(scores)) == 2
    assert "There is no file" in capsys.readouterr().err
