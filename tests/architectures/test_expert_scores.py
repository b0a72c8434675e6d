"""Scores of a mixture of experts: the mean over the matrices of all experts, whatever the layout.

Compared with numpy's SVD of each expert, cut by hand from the stored tensors or from the model
that a trainer loads.
"""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.events import LayerDone, LayerFailed, MatrixDone, ScanEvent, ScanStarted
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.layer_types import Group
from spectrum_tui.core.model.inspection import inspect_model, with_exact_names
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import load_result
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests import oracle
from tests.architectures.compare import load_as_a_trainer
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import LAYOUTS, Tensors, rewrite
from tests.architectures.test_experts import FUSED, ONE_BY_ONE
from tests.architectures.test_scans import scanned, scanned_once
from tests.architectures.tiny import ARCHITECTURES
from tests.forked import Forked

PARTS = {"gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"), "down_proj": ("down_proj", "w2")}
"""What the stored matrices of a fused parameter are called."""


def by_layer(result: Result) -> dict[str, float]:
    return dict(zip(result.scores.layers, result.scores.values.tolist(), strict=True))


def scores_of(tiny: TinyModels, output: Path, name: str, layout: str) -> dict[str, float]:
    inspection = with_exact_names(inspect_model(str(tiny.folder(name, layout))))
    return by_layer(scanned_once(tiny, inspection, output))


def mean(matrices: list[torch.Tensor]) -> float:
    return float(np.mean([oracle.snr(m.detach().double().numpy()) for m in matrices]))


def stored_experts(stored: Tensors, layer: str) -> list[torch.Tensor]:
    """The matrices stored one by one that are fused in `layer`."""
    place = re.search(r"layers\.(\d+)\.", layer)
    assert place
    leaves = "|".join(PARTS[layer.rpartition(".")[2]])
    pattern = re.compile(rf"\.layers\.{place[1]}\..*\.experts\.\d+\.({leaves})\.weight$")
    return [tensor for name, tensor in stored.items() if pattern.search(name)]


@pytest.mark.parametrize("layout", ["transformers-4", "fused"])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_a_score_is_the_mean_over_the_svd_of_each_expert(
    name: str, layout: str, tiny: TinyModels, tmp_path: Path
) -> None:
    stored = load_file(tiny.folder(name, "transformers-4") / "model.safetensors")
    scores = scores_of(tiny, tmp_path, name, layout)
    fused = [layer for layer in scores if re.search(r"\.experts\.\w+$", layer)]
    assert fused
    for layer in fused:
        experts = stored_experts(stored, layer)
        assert len(experts) % 4 == 0 and experts
        assert oracle.close(scores[layer], mean(experts)), layer


@pytest.mark.parametrize("name", ["gpt_oss", "llama4_text"])
def test_experts_that_were_always_fused(name: str, tiny: TinyModels, tmp_path: Path) -> None:
    folder = tiny.folder(name)
    model, _ = load_as_a_trainer(folder, ARCHITECTURES[name].model)
    checked = 0
    for layer, score in scores_of(tiny, tmp_path, name, "transformers-4").items():
        if not layer.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        matrices = list(model.get_parameter(layer))
        if layer.endswith("gate_up_proj") and name == "gpt_oss":
            matrices = [half for m in matrices for half in (m[:, 0::2], m[:, 1::2])]
        elif layer.endswith("gate_up_proj"):
            matrices = [half for m in matrices for half in m.chunk(2, dim=1)]
        assert oracle.close(score, mean(matrices)), layer
        checked += 1
    assert checked == 4


@pytest.mark.parametrize("name", FUSED)
def test_every_layout_has_the_same_scores(name: str, tiny: TinyModels, tmp_path: Path) -> None:
    first, *others = (scores_of(tiny, tmp_path / layout, name, layout) for layout in LAYOUTS)
    for other in others:
        assert list(other) == list(first)
        oracle.assert_all_close(list(other.values()), list(first.values()), 1e-12)


def test_the_parts_are_the_experts_and_come_back_from_disk(
    tiny: TinyModels, tmp_path: Path
) -> None:
    stored = load_file(tiny.folder("mixtral") / "model.safetensors")
    scores = scanned(tiny.folder("mixtral"), tmp_path).scores
    row = scores.layers.index("model.layers.1.mlp.experts.gate_up_proj")
    parts = dict(scores.parts[row])
    assert list(parts) == [f"expert {i} {half}" for i in range(12) for half in ("gate", "up")]
    for i in (0, 2, 10, 11):
        for half, leaf in (("gate", "w1"), ("up", "w3")):
            name = f"model.layers.1.block_sparse_moe.experts.{i}.{leaf}.weight"
            assert oracle.close(parts[f"expert {i} {half}"], oracle.snr(stored[name].numpy()))
    assert scores.values[row] == pytest.approx(np.mean(list(parts.values())), rel=1e-14)
    assert scores.shape(row) == "24 × 48 × 32"
    assert scores.numel[row] == 12 * 96 * 32


@pytest.mark.parametrize(
    ("name", "router", "count"),
    [
        ("mixtral", "mlp.gate", "num_local_experts"),
        ("gpt_oss", "mlp.router", "num_local_experts"),
        ("jamba", "feed_forward.router", "num_experts"),
    ],
)
def test_the_router_is_a_type_of_its_own(
    name: str, router: str, count: str, tiny: TinyModels
) -> None:
    types = with_exact_names(inspect_model(str(tiny.folder(name)))).summary.types
    (found,) = [t for t in types if t.name == router]
    experts = [t for t in types if ".experts." in t.name]
    assert found.group == Group.EXPERTS
    assert (found.layers, found.experts) == (2, 0)
    assert {t.name.rpartition(".")[2] for t in experts} == {"gate_up_proj", "down_proj"}
    assert all(t.experts == ARCHITECTURES[name].options[count] for t in experts)


def parts_of(events: list[ScanEvent | ResultReady], *, resumed: bool) -> list[str]:
    return [e.layer for e in events if isinstance(e, MatrixDone) and e.resumed is resumed]


def test_killed_between_two_experts_it_goes_on_with_the_next(
    tiny: TinyModels, tmp_path: Path
) -> None:
    folder = tiny.folder("mixtral", "fused")
    request = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "out"))

    def until_killed() -> None:
        seen = 0
        for event in run_scan(replace(request, batch_size=1)):
            seen += isinstance(event, MatrixDone)
            if seen == 30:
                os.kill(os.getpid(), signal.SIGKILL)

    killed = Forked(until_killed).wait()
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = read_journal(journal_path(read_checkpoint(folder).fingerprint))
    of_experts = {name for name in kept if "[expert " in name}
    assert len(of_experts) >= 30
    events = list(run_scan(request))
    computed = parts_of(events, resumed=False)
    assert computed and not set(computed) & set(kept)
    assert len(computed) + len(of_experts) == 2 * 12 * 3
    cut = {name.partition(" [")[0] for name in of_experts}
    assert cut & {name.partition(" [")[0] for name in computed}, "no layer was cut in the middle"
    again = by_layer(scanned(folder, tmp_path / "fresh"))
    assert {e.layer: e.snr for e in events if isinstance(e, LayerDone)}.items() <= again.items()
    journal_path(read_checkpoint(folder).fingerprint).unlink()
    fresh = by_layer(scanned(folder, tmp_path / "fresh"))
    oracle.assert_all_close(list(again.values()), list(fresh.values()), 1e-12)


def test_what_was_kept_is_reported_again(tiny: TinyModels, tmp_path: Path) -> None:
    folder = tiny.folder("qwen3_moe", "fused")
    request = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path))
    first = list(run_scan(request))
    journal = journal_path(read_checkpoint(folder).fingerprint)
    lines = journal.read_text().splitlines(keepends=True)
    lost = [line for line in lines if "layers.1.mlp.experts" in line and "[expert 2" in line]
    assert len(lost) == 3
    journal.write_text("".join(line for line in lines if line not in lost))
    second = list(run_scan(request))
    assert len(parts_of(second, resumed=False)) == 3
    assert len(parts_of(second, resumed=True)) == (4 - 1) + (8 - 2)
    for events in (first, second):
        started = events[0]
        assert isinstance(started, ScanStarted)
        done = [e for e in events if isinstance(e, MatrixDone | LayerDone)]
        assert sum(e.cost for e in done) == pytest.approx(started.cost)
    ends = [{e.layer: e.snr for e in run if isinstance(e, LayerDone)} for run in (first, second)]
    assert ends[0] == ends[1]


def test_every_expert_is_in_the_json(
    tiny: TinyModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--json", "--output-dir", str(tmp_path)]
    assert main(["scan", str(tiny.folder("qwen3_moe")), *options]) == 0
    data = json.loads(capsys.readouterr().out)
    rows = {row["layer"]: row for row in data["layers"]}
    row = rows["model.layers.0.mlp.experts.down_proj"]
    assert list(row["matrices"]) == [f"expert {i}" for i in range(4)]
    assert np.mean(list(row["matrices"].values())) == pytest.approx(row["snr"], rel=1e-14)
    assert "matrices" not in rows["lm_head"]
    assert data["naming"].endswith("Qwen3MoeForCausalLM")


@pytest.mark.parametrize("layout", ["transformers-4", "fused"])
def test_one_bad_expert_fails_its_layer_and_is_named(
    layout: str, tiny: TinyModels, tmp_path: Path
) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        if layout == "fused":
            name = "model.layers.1.mlp.experts.gate_up_proj"
            tensors[name][2, -1, -1] = float("nan")  # expert 2, in the half of up
        else:
            tensors["model.layers.1.mlp.experts.2.up_proj.weight"][-1, -1] = float("nan")
        return tensors

    folder = rewrite(tiny.folder("qwen3_moe", layout), tmp_path / "m", spoil)
    request = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "out"))
    events = list(run_scan(request))
    (failed,) = [e for e in events if isinstance(e, LayerFailed)]
    assert failed.layer == "model.layers.1.mlp.experts.gate_up_proj"
    assert failed.reason == "expert 2 up: holds NaN or Inf"
    ready = events[-1]
    assert isinstance(ready, ResultReady)
    scores = load_result(Path(ready.path)).scores
    row = scores.layers.index(failed.layer)
    assert np.isnan(scores.values[row])
    assert scores.problems == {row: failed.reason}
    assert np.isfinite(np.delete(scores.values, row)).all()
