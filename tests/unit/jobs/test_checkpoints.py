"""Checkpoints that a killed job has left: whole, or with a file that was cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.jobs.checkpoints import check_whole


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    save_file({"w": torch.zeros(64)}, folder / "model.safetensors")
    torch.save({"w": torch.zeros(64)}, folder / "optimizer.pt")
    torch.save({}, folder / "training_args.bin")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 1, "epoch": 0.5}))
    (folder / "notes.txt").touch()
    return folder


def test_a_whole_one(checkpoint: Path) -> None:
    check_whole(str(checkpoint))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_file_that_was_cut_short_is_named(checkpoint: Path, name: str) -> None:
    whole = (checkpoint / name).read_bytes()
    for size in (0, len(whole) // 2, len(whole) - 1):
        (checkpoint / name).write_bytes(whole[:size])
        with pytest.raises(SpectrumError, match=f"damaged: {name} cannot be read"):
            check_whole(str(checkpoint))


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(SpectrumError, match="There is no checkpoint"):
        check_whole(str(tmp_path / "none"))
