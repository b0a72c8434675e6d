"""The score files of a training run: which they are, their order, and what is left out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum_tui.core.comparison.film import load_film
from spectrum_tui.core.errors import ResultsError
from spectrum_tui.core.results.results import MetricColumn
from spectrum_tui.core.saved.steps import (
    ADAPTER_LINES,
    adapter_moves,
    is_training_run,
    moves_at,
    step_file,
    step_files,
    step_of,
)
from spectrum_tui.core.saved.store import flat_text, load_result
from tests import made

STEPS = (0, 500, 1000, 1500)


def run(folder: Path, name: str = "snr_results_made-llama", steps: tuple[int, ...] = STEPS) -> Path:
    """A folder as `RescoreCallback` leaves it."""
    plain = made.result(layers=8)
    for step in steps:
        noise = np.random.default_rng(step).lognormal(0, step / 2000, len(plain.scores))
        moved = replace(plain, scores=made.ranked(plain.scores, plain.scores.values * noise))
        (folder / f"{name}-step-{step}.json").write_text(flat_text(moved))
    return folder


def test_frames_come_by_step_against_the_first(tmp_path: Path) -> None:
    frames = load_film(run(tmp_path)).frames
    assert [frame.step for frame in frames] == [0, 500, 1000, 1500]
    assert {frame.comparison.a.source for frame in frames} == {
        str(tmp_path / "snr_results_made-llama-step-0.json")
    }
    rhos = [frame.comparison.rho for frame in frames]
    assert rhos[0] == pytest.approx(1.0)
    assert rhos[3] < rhos[1] < 1.0
    assert frames[3].comparison.b.source.endswith("-step-1500.json")


def test_the_longest_series_is_taken(tmp_path: Path) -> None:
    run(run(tmp_path), "other", (1, 2))
    assert [step for step, _ in step_files(tmp_path)] == list(STEPS)


def test_what_became_of_adapters_is_told_with_its_step(tmp_path: Path) -> None:
    run(tmp_path)
    lines = [
        json.dumps({"step": 500, "moves": "6 layers up to rank 32, 2 off"}),
        json.dumps({"step": 1000, "moves": "2 layers in 1 adapter"}),
        json.dumps({"step": 1000, "moves": "1 layer\x1b[31m on"}),
        "{", "[1]", '{"step": "5", "moves": 3}', "[" * 9000, '{"step": true}',
    ]  # fmt: skip
    (tmp_path / ADAPTER_LINES).write_text("\n".join(lines))
    moves = [frame.moves for frame in load_film(tmp_path).frames]
    assert moves[:2] == ["", "6 layers up to rank 32, 2 off"]
    assert moves[2].startswith("2 layers in 1 adapter; 1 layer") and "\x1b" not in moves[2]
    assert moves_at(tmp_path / "snr_results_made-llama-step-500.json") == moves[1]
    assert moves_at(tmp_path / "snr_results_made-llama.json") == ""
    (tmp_path / ADAPTER_LINES).write_bytes(b"\xff\xfe\x00")
    assert adapter_moves(tmp_path) == {}


def test_files_of_a_step_say_their_metric(tmp_path: Path) -> None:
    plain = made.result(layers=2)
    for metric in ("spectrum", "gradient"):
        scores = replace(
            plain.scores, metric=metric, metrics={metric: MetricColumn(plain.scores.values)}
        )
        path = step_file(replace(plain, scores=scores), tmp_path, 7)
        path.write_text(flat_text(replace(plain, scores=scores)))
        assert load_result(path).scores.metric == metric
        assert step_of(path) == 7


@pytest.mark.parametrize("name", ["x-step-.json", "x-step-1.json.bak", "x-step-٣.json", "x.json"])
def test_other_names_are_no_steps(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert step_files(tmp_path) == []
    assert step_files(tmp_path / "missing") == step_files(Path("\0")) == []


def test_what_cannot_be_read_or_compared_is_left_out(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "snr_results_made-llama-step-500.json").write_text("[1]")
    strange = made.result(layers=2, names={n: f"strange.{n}" for n in range(14)})
    (tmp_path / "snr_results_made-llama-step-1000.json").write_text(flat_text(strange))
    film = load_film(tmp_path)
    assert [frame.step for frame in film.frames] == [0, 1500]
    first, second = film.notes
    assert first.startswith("snr_results_made-llama-step-500.json is left out: ")
    assert second.startswith("snr_results_made-llama-step-1000.json is left out: ")
    (tmp_path / "snr_results_made-llama-step-1500.json").unlink()
    with pytest.raises(ResultsError, match=r"no two score files.*step-500"):
        load_film(tmp_path)


def test_a_step_without_the_score_of_a_layer_is_said(tmp_path: Path) -> None:
    path = run(tmp_path) / "snr_results_made-llama-step-500.json"
    data = json.loads(path.read_text())
    next(iter(data.values()))["snr"] = math.nan
    path.write_text(json.dumps(data))
    film = load_film(tmp_path)
    assert [frame.step for frame in film.frames] == list(STEPS)
    assert film.notes == (f"{path.name}: 1 layer has no score there or at the first step.",)


def test_a_step_is_there_once(tmp_path: Path) -> None:
    path = run(tmp_path) / "snr_results_made-llama-step-500.json"
    path.with_name("snr_results_made-llama-step-0500.json").write_text(path.read_text())
    assert [step for step, _ in step_files(tmp_path)] == list(STEPS)
    assert path in (file for _, file in step_files(tmp_path))


def test_a_folder_with_a_model_is_that_model(tmp_path: Path) -> None:
    assert is_training_run(run(tmp_path))
    (tmp_path / "model.safetensors").touch()
    assert not is_training_run(tmp_path)
    (tmp_path / "one").mkdir()
    assert not is_training_run(run(tmp_path / "one", steps=(5,)))
