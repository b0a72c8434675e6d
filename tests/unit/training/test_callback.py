"""The re-scoring callback without a trainer: what it accepts, and who does the work."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from spectrum_tui.callback import LINES, RescoreCallback
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.training.rescoring import live_layers
from tests.architectures.tiny import ARCHITECTURES


@dataclass
class State:
    """What a callback looks at of a trainer's state, and of its arguments."""

    output_dir: str
    global_step: int = 0
    is_world_process_zero: bool = True


@pytest.fixture
def llama() -> Any:
    return ARCHITECTURES["llama"].build()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"every": -1},
        {"every": "5"},
        {"every": 1.5},
        {"every": float("nan")},
        {"every": 5, "top_percent": 0},
        {"every": 5, "metric": "beauty"},
        {"every": 5, "result": "nowhere.json"},
    ],
)
def test_what_it_refuses_before_the_training(options: dict[str, Any]) -> None:
    with pytest.raises(SpectrumError):
        RescoreCallback(**options)


def test_importing_it_loads_no_screen() -> None:
    """With a class in the place of transformers, whose import takes 8 s and is the trainer's."""
    code = (
        "import sys, types\n"
        "sys.modules['transformers'] = types.SimpleNamespace(TrainerCallback=object)\n"
        "import spectrum_tui.callback\nprint(*{m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "spectrum_tui" in loaded and not loaded & {"textual", "rich"}


def run(callback: RescoreCallback, model: Any, state: State, steps: int) -> None:
    callback.on_train_begin(state, state, None, model=model)
    for step in range(1, steps + 1):
        state.global_step = step
        callback.on_step_end(state, state, None, model=model)


def test_only_the_first_process_scores(llama: Any, tmp_path: Path) -> None:
    run(RescoreCallback(every=2), llama, State(str(tmp_path), 0, False), 4)
    assert not list(tmp_path.iterdir())
    run(RescoreCallback(every=2, at=[3]), llama, State(str(tmp_path)), 4)
    assert len((tmp_path / LINES).read_text().splitlines()) == 4  # 0, 2, 3, 4


def test_what_does_not_train_is_scored_once(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spectrum_tui.core.training import rescoring

    scored: list[str] = []
    real = rescoring.LiveLayer.score

    def spy(layer: rescoring.LiveLayer, metric: str) -> float:
        scored.append(layer.name)
        return real(layer, metric)

    monkeypatch.setattr(rescoring.LiveLayer, "score", spy)
    llama.requires_grad_(False)
    llama.lm_head.weight.requires_grad_(True)
    run(RescoreCallback(every=1), llama, State(str(tmp_path)), 2)
    assert len(scored) == len(live_layers(llama)) + 2
    assert scored[-2:] == ["lm_head", "lm_head"]


def test_spread_weights_are_left_alone(
    llama: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    llama.lm_head.weight.ds_id = 0  # as DeepSpeed ZeRO 3 marks a parameter
    with pytest.raises(SpectrumError, match="several processes"):
        live_layers(llama)
    run(RescoreCallback(every=1), llama, State(str(tmp_path)), 2)
    assert caplog.text.count("several processes") == 1
    assert not list(tmp_path.iterdir())


def test_half_precision_weights_are_scored_as_they_are(llama: Any) -> None:
    llama.to(torch.bfloat16)
    layers = live_layers(llama, ["mlp.*"])
    assert len(layers) == 6
    assert all(next(layer.matrices()).data_ptr() == layer.weight.data_ptr() for layer in layers)
    assert all(layer.score("spectrum") > 0 for layer in layers)
