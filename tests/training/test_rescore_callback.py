"""The re-scoring callback in a real Trainer: what it writes, and that it never ends a training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")

from spectrum_tui.callback import LINES, RescoreCallback
from spectrum_tui.core.comparison.compare import compare
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.training.rescoring import Rescorer, live_layers
from spectrum_tui.freeze import freeze_except
from tests import oracle
from tests.architectures.test_scans import scanned
from tests.training.runs import STEPS, build, trained

DOWN = [f"model.layers.{i}.mlp.down_proj" for i in (0, 1)]


def lines(folder: Path) -> list[dict[str, Any]]:
    texts = (folder / LINES).read_text(encoding="utf-8").splitlines()
    return [json.loads(text, parse_constant=pytest.fail) for text in texts]


def test_scores_move_with_the_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = build("llama")
    before = Rescorer(live_layers(model), "spectrum", "x").result()
    freeze_except(model, DOWN)
    callback = RescoreCallback(every=10, top_percent=50)
    with caplog.at_level(logging.INFO, logger="spectrum_tui.callback"):
        trained(model, tmp_path, callbacks=[callback], learning_rate=0.05)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [0, 10, 20]
    assert caplog.text.count("against the start") == 3
    start = dict(zip(before.scores.layers, before.scores.values.tolist(), strict=True))
    assert found[0]["scores"] == start
    assert {n for n in start if found[2]["scores"][n] != start[n]} == set(DOWN)
    for name in DOWN:  # the weights as they are now, by numpy's own SVD
        weight = model.get_submodule(name).weight.detach().double().numpy()
        assert found[2]["scores"][name] == pytest.approx(oracle.snr(weight), rel=1e-9)
    assert found[0]["since_start"]["spearman"] == 1.0
    scores = sorted(tmp_path.glob("snr_results_*step-*.json"))
    assert [path.stem.rpartition("-")[2] for path in scores] == ["0", "10", "20"]
    moved = compare(load_result(scores[0]), load_result(scores[2]))
    assert found[2]["since_start"]["spearman"] == pytest.approx(moved.rho)
    mask_a, mask_b = moved.masks(Policy(percent=50))
    entered = [moved.b.scores.layers[i] for i in np.flatnonzero(mask_b & ~mask_a)]
    assert found[2]["since_start"]["entered"] == entered
    assert len(found[2]["since_start"]["left"]) == len(entered)


def test_certain_steps_types_and_a_file_to_measure_against(tmp_path: Path) -> None:
    model = build("llama")
    model.save_pretrained(tmp_path / "model")
    scanned(tmp_path / "model", tmp_path)
    path = tmp_path / "model_snr_results" / "snr_results_model.json"
    callback = RescoreCallback(at=[7], result=path, types=["mlp.*"], metric="stable_rank")
    trained(model, tmp_path, callbacks=[callback])
    (line,) = lines(tmp_path)
    assert (line["step"], line["metric"]) == (7, "stable_rank")
    assert {name.split(".")[3] for name in line["scores"]} == {"mlp"}
    assert line["since_start"]["types"].keys() == {f"mlp.{n}_proj" for n in ("down", "gate", "up")}


@pytest.mark.parametrize("fault", ["nan", "unwritable", "frozen", "nothing"])
def test_nothing_that_goes_wrong_ends_the_training(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build("llama")
    types: tuple[str, ...] = ()
    if fault == "nan":
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    if fault == "unwritable":
        (tmp_path / LINES).mkdir()
    if fault == "frozen":
        freeze_except(model, ["lm_head"])
        types = ("mlp.*",)
    if fault == "nothing":
        types = ("no.such.type",)
    trainer = trained(model, tmp_path, callbacks=[RescoreCallback(every=5, types=types)])
    assert trainer.state.global_step == STEPS
    warnings = [r.getMessage() for r in caplog.records if r.name == "spectrum_tui.callback"]
    said = {
        "nan": "holds NaN",
        "unwritable": "layers were not scored",
        "frozen": "none of the layers to score trains",
        "nothing": "is in the model",
    }
    assert any(said[fault] in text for text in warnings)
    if fault == "nan":
        assert "model.layers.1.mlp.up_proj" in lines(tmp_path)[0]["failed"]
