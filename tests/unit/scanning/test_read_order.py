"""On a mount that fetches what is read, files are read forward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint import sources
from spectrum_tui.core.checkpoint.headers import Tensor, read_checkpoint
from spectrum_tui.core.checkpoint.sources import LocalFiles, Pieces
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.scan import scan
from tests.checkpoints import experts, llama, save
from tests.scans import layers_of, scores_of


@pytest.mark.parametrize("on_demand", [True, False])
def test_matrices_are_read_as_they_lie(
    on_demand: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_checkpoint(save(tmp_path, llama(2) | experts(), shards=3))
    layers = [layer for layer in layers_of(checkpoint) if not layer.one_dimensional]
    wanted = scores_of(list(scan(make_plan(checkpoint, layers, device="cpu"))))
    checkpoint = replace(checkpoint, on_demand=on_demand)
    read: list[tuple[str, int]] = []
    real = LocalFiles.read_into

    def read_into(files: LocalFiles, tensor: Tensor, pieces: Pieces) -> None:
        if (tensor.file, tensor.start) not in read:
            read.append((tensor.file, tensor.start))
        real(files, tensor, pieces)

    monkeypatch.setattr(sources.LocalFiles, "read_into", read_into)
    plan = make_plan(checkpoint, layers, device="cpu", batch_size=1, since=1e12)
    assert scores_of(list(scan(plan))) == wanted
    assert len(read) > 10 and (read == sorted(read)) is on_demand
