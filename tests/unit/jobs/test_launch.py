"""What launch.py of a job makes of its command line, without the SDK."""

from __future__ import annotations

import sys

import pytest

from spectrum_tui.scripts.launch_on_sagemaker import hyperparameters, main

GIVEN = ["--role", "r", "--train", "a", "--output", "b"]


def test_options_after_two_dashes() -> None:
    more = ["--learning-rate", "-1", "--epochs=2", "--bf16", "--seed", "3"]
    found = hyperparameters(more)
    assert found.pop("config").endswith("args.yaml") and found.pop("checkpoint_dir")
    assert found == {"learning-rate": "-1", "epochs": "2", "bf16": "true", "seed": "3"}


@pytest.mark.parametrize("more", [["2e-5"], ["--a", "1", "2"], ["--a=1", "2"]])
def test_a_value_without_a_name_is_one_line(more: list[str]) -> None:
    with pytest.raises(SystemExit, match="stands where an option should"):
        main([*GIVEN, "--", *more])


def test_without_the_sdk_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sagemaker", None)
    with pytest.raises(SystemExit, match="pip install -U sagemaker"):
        main(GIVEN)
