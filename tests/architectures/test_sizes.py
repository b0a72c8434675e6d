"""Scores under the names of an older transformers, and the model that trainers load today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.memory.estimate import MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.sizes import load_sized
from tests.architectures.conftest import TinyModels

RENAMED = ("llama", "llama_tied", "qwen2", "gpt2", "gpt_neox", "gemma3", "llava", "qwen2_5_vl")
FUSED = ("mixtral", "qwen3_moe", "deepseek_v3")


def scores_of(folder: Path, tmp_path: Path) -> Path:
    """A score file of every layer, under the names that the folder stores."""
    names = [layer.name for layer in inspect_model(str(folder)).model.layers]
    rows = {name: {"snr": i % 7 + 0.5, "type": layer_type(name)} for i, name in enumerate(names)}
    path = tmp_path / "snr_results_made-model.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("name", RENAMED)
def test_rows_get_the_names_and_sizes_that_trainers_have(
    name: str, tiny: TinyModels, tmp_path: Path
) -> None:
    folder = tiny.folder(name)
    result = load_sized(scores_of(folder, tmp_path), str(folder))
    model = tiny.model(name)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    assert {p.name: p.numel for p in result.parameters} == sizes
    assert result.total_parameters == sum(sizes.values())
    for row, names in enumerate(result.scores.parameters):
        assert sum(sizes[n] for n in names) == result.scores.numel[row]
    assert result.embeddings
    selection = Selection(result)
    text = SpectrumYaml(selection).text(Policy(percent=60))  # refuses names that no trainer has
    named = {line[2:] for line in text.splitlines() if line.startswith("- ")}
    table = MemoryTable(selection, ModelSizes(result.parameters, result.embeddings))
    trained = table.estimate(Policy(percent=60), Training()).trained
    assert trained == sum(sizes[n] for n in named)


@pytest.mark.parametrize("name", FUSED)
def test_single_experts_keep_the_names_of_their_generation_and_it_is_said(
    name: str, tiny: TinyModels, tmp_path: Path
) -> None:
    folder = tiny.folder(name)
    path = scores_of(folder, tmp_path)
    result = load_sized(path, str(folder))
    experts = [layer for layer in json.loads(path.read_text()) if ".experts." in layer]
    assert experts
    assert f"{len(experts)} layers are single experts" in result.provenance.notes[1]
    assert result.provenance.naming == "the checkpoint"
    assert result.scores.layers == list(json.loads(path.read_text()))
    assert result.scores.numel.all()
    whole = sum(p.numel() for p in tiny.model(name).parameters())
    assert result.total_parameters == whole
    SpectrumYaml(Selection(result)).text(Policy(percent=50))
