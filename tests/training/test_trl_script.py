"""The TRL script for real: it trains a tiny Llama from a scan of it, and nothing but what it names.

Runs where TRL is installed (extra `train`).
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("trl")
pytest.importorskip("datasets")

from spectrum_tui.cli.main import main
from tests.training.text_model import WORDS, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of three layers with a tokenizer of whole words."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def script(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of a scan of that model, without embeddings and head."""
    out = tmp_path_factory.mktemp("scores")
    assert main(["scan", str(model), "--output-dir", str(out), "--top-percent", "34"]) == 0
    (scores,) = (out / "model_snr_results").iterdir()
    path = out / "train.py"
    arguments = ["--as", "trl", "--top-percent", "34", "--no-embeddings", "-o", str(path)]
    assert main(["export", str(scores), *arguments]) == 0
    return path


def named(script: Path) -> set[str]:
    return set(runpy.run_path(str(script))["NAMES"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The script as a job starts it, in this process: importing TRL takes ten seconds."""

    def start(script: Path, *arguments: str, **environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")

    return start


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_job_changes_what_is_named_and_nothing_else(
    dtype: str,
    model: Path,
    script: Path,
    run: Callable[..., None],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    lines = [json.dumps({"text": " ".join(WORDS[i:] + WORDS[:i])}) for i in range(8)]
    (data / "train.jsonl").write_text("\n".join(lines))
    trained = tmp_path / "trained"
    options = ["--max_steps", "2", "--learning_rate", "0.01", "--dtype", dtype]
    run(
        script,
        *options,
        "--gradient-accumulation-steps=1",
        SM_CHANNEL_TRAIN=str(data),
        SM_CHANNEL_MODEL=str(model),
        SM_MODEL_DIR=str(trained),
        SM_OUTPUT_DATA_DIR=str(tmp_path / "output"),
    )
    stored = load_file(model / "model.safetensors")
    before = {name: tensor.to(getattr(torch, dtype)) for name, tensor in stored.items()}
    after = load_file(trained / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == named(script)
    assert 0 < len(changed) < len(before)
    trainable, total = (sum(x[n].numel() for n in x) for x in (pick(before, changed), before))
    said = f"training {trainable:,} of {total:,} parameters, {trainable / total:.2%}"
    assert said in capfd.readouterr().out
    assert (trained / "tokenizer.json").is_file()


def pick(tensors: dict[str, torch.Tensor], names: set[str]) -> dict[str, torch.Tensor]:
    return {name: tensors[name] for name in names}


def test_names_of_another_model_end_it(
    model: Path, script: Path, run: Callable[..., None], tmp_path: Path
) -> None:
    options = ("--model", str(model), "--train", "x.jsonl", "--dtype", "float32")
    other = tmp_path / "other.py"
    other.write_text(script.read_text().replace('"model.layers.', '"model.layers.9'))
    with pytest.raises(SystemExit, match="Nothing that the recipe names is a parameter"):
        run(other, *options)
    other.write_text(script.read_text().replace('"model.layers.', '"model.layers.9', 1))
    with pytest.raises(SystemExit, match=r"Not in this model: model\.layers\.9\S+, one of 1 "):
        run(other, *options)
