"""Single experts of real models: the rows that an axolotl recipe names are those that train."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from spectrum_tui.cli.main import main
from spectrum_tui.core.saved.store import load_result
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import TinyModels
from tests.architectures.tiny import ARCHITECTURES


def gradient_rows(parameter: torch.Tensor, ranges: list[tuple[int, int]]) -> set[int]:
    """The rows of a gradient of ones that are left where all but the ranges are set to zero."""
    gradient = torch.zeros_like(parameter)
    for start, stop in ranges:
        assert 0 <= start < stop <= len(parameter)
        gradient[start:stop] = 1
    return set(torch.nonzero(gradient.flatten(1).sum(1)).flatten().tolist())


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "llama4_text"])
def test_half_of_the_experts_of_each_fused_parameter(
    name: str, tiny: TinyModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.folder(name)
    assert main(["scan", str(folder), "--output-dir", str(tmp_path)]) == 0
    (scores,) = (tmp_path / "model_snr_results").iterdir()
    capsys.readouterr()
    assert main(["export", str(scores), "--as", "axolotl", "--experts"]) == 0
    written = yaml.safe_load(capsys.readouterr().out)["unfrozen_parameters"]
    ranges: dict[str, list[tuple[int, int]]] = {}
    for entry in written:
        if found := re.fullmatch(r"(.+)\[(\d+):(\d+)\]", entry):
            ranges.setdefault(found[1], []).append((int(found[2]), int(found[3])))
    model, _ = load_as_a_trainer(folder, ARCHITECTURES[name].model)
    parameters = dict(model.named_parameters())
    result = load_result(scores).scores
    fused = {n for row in result.parts for n in result.parameters[row]}
    assert set(ranges) == fused
    for row, parts in result.parts.items():
        values: dict[int, float] = {}
        for label, value in parts:
            values[int(label.split()[1])] = values.get(int(label.split()[1]), 0.0) + value
        best = set(sorted(values, key=lambda e: -values[e])[: len(values) // 2])
        for parameter in result.parameters[row]:
            assert gradient_rows(parameters[parameter], ranges[parameter]) == best
