"""What the launcher of a training job hands to SageMaker's SDK, which is typed again here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from spectrum_tui.jobs.values import from_command_line
from spectrum_tui.scripts import launch_on_sagemaker as launch

REQUIRED = ["--role", "arn", "--train", "s3://in", "--output", "s3://out", "--region", "eu-west-1"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the ModelTrainer is made with, and then what it is started with."""
    found: dict[str, Any] = {}

    def model_trainer(**given: Any) -> SimpleNamespace:
        found.update(given)
        return SimpleNamespace(train=lambda **more: found.update(more))

    names = ("SourceCode", "Compute", "StoppingCondition", "OutputDataConfig", "CheckpointConfig")
    configs = SimpleNamespace(**dict.fromkeys((*names, "InputData"), dict))
    images = SimpleNamespace(retrieve=lambda **given: f"image of {given['region']}")
    monkeypatch.setattr(launch, "sdk", lambda: (configs, dict, model_trainer, images))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return found


def test_options_after_two_dashes_reach_the_job_as_they_are_meant(started: dict[str, Any]) -> None:
    typed = ["--learning-rate", "2e-5", "--bf16=false", "--fsdp", "full_shard", "auto_wrap", "--x"]
    launch.main([*REQUIRED, "--", *typed])
    given = started["hyperparameters"]
    assert given == {
        "config": launch.CONFIG,
        "checkpoint_dir": launch.CHECKPOINTS,
        **from_command_line(typed),
    }
    assert (given["learning_rate"], given["bf16"], given["x"]) == ("2e-5", "false", "true")


def test_the_job_runs_where_and_on_what_is_asked(started: dict[str, Any]) -> None:
    launch.main([*REQUIRED, "--test", "s3://test", "--spot", "--max-hours", "2", "--no-wait"])
    places = {one["channel_name"]: one["data_source"] for one in started["input_data_config"]}
    assert places == {
        "train": "s3://in",
        "test": "s3://test",
        "config": str(launch.FOLDER / "args.yaml"),
    }
    assert started["training_image"] == "image of eu-west-1" and started["wait"] is False
    limits = {"max_runtime_in_seconds": 7200, "max_wait_time_in_seconds": 14400}
    assert started["stopping_condition"] == limits
    kept = started["checkpoint_config"]["s3_uri"]
    assert kept.startswith("s3://out/spectrum-") and kept.endswith("/checkpoints")


def test_a_value_without_a_name_is_refused_in_a_line(started: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="2e-5 stands where an option should"):
        launch.main([*REQUIRED, "--", "2e-5"])
    assert not started


def test_without_the_sdk_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "sagemaker", None)
    with pytest.raises(SystemExit, match="pip install -U sagemaker"):
        launch.main(REQUIRED)
