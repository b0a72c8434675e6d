"""Quantised and fused experts that are scanned straight from a hub have the scores of the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectrum_tui.core.events import LayerDone
from tests.architectures.conftest import TinyModels
from tests.architectures.layouts import rewrite
from tests.architectures.test_dequantised import FP8, _quantised
from tests.checkpoints import save
from tests.fake_hub import FakeHub
from tests.quantised import config
from tests.streamed import end, scores, stream_from
from tests.unit.quantised.test_decoders import gpt_oss


def check(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, experts: int) -> None:
    """Compare every score of both ways, with `experts` matrices in the largest layers."""
    with FakeHub({}) as hub:
        model = stream_from(folder, hub, tmp_path, monkeypatch)
        found, wanted = model.scan(batch_size=3), model.local(since=1e12)
    assert scores(found) == scores(wanted) and scores(found)
    assert end(found).failed == 0
    parts = max(len(event.parts) for event in found if isinstance(event, LayerDone))
    assert parts == experts


def test_fp8_experts_with_their_scales(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"quantization_config": FP8, "dtype": "bfloat16"}
    folder = rewrite(tiny.folder("qwen3_moe"), tmp_path / "fp8", _quantised, made)
    check(folder, tmp_path, monkeypatch, experts=8)


def test_fused_experts(tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tiny.folder("qwen3_moe"), tmp_path, monkeypatch, experts=8)


def test_mxfp4_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, saved = gpt_oss(tmp_path / "made")
    folder = save(tmp_path / "mxfp4", tensors, config=saved | config("mxfp4"), shards=2)
    check(folder, tmp_path, monkeypatch, experts=6)


def test_bytes_of_experts_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, saved = gpt_oss(tmp_path / "made")
    wanted = [name for name in tensors if ".experts." in name and "bias" not in name]
    folder = save(tmp_path / "mxfp4", tensors, config=saved | config("mxfp4"))
    with FakeHub({}) as hub:
        model = stream_from(folder, hub, tmp_path, monkeypatch)
        model.scan(types=("mlp.experts.gate_up_proj", "mlp.experts.down_proj"), batch_size=1)
        fetched = model.fetched()
    assert fetched == sum(tensors[name].numel() for name in wanted)
    assert all(tensors[name].dtype == torch.uint8 for name in wanted)
