"""Scans of small models, run to their end, and what is read off their events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum_tui.core import spectra
from spectrum_tui.core.checkpoint import Tensor, read_checkpoint
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    ScanEvent,
)
from spectrum_tui.core.journal import journal_path
from spectrum_tui.core.naming import Layer, model_layers
from spectrum_tui.core.scan import make_plan, scan
from spectrum_tui.core.scores import Score


def spy_on_scores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weights whose scores are computed from now on."""
    names: list[str] = []
    real = spectra.score_tensor

    def spy(tensor: Tensor, rows: int, columns: int, device: str) -> Score:
        names.append(tensor.name)
        return real(tensor, rows, columns, device)

    monkeypatch.setattr(spectra, "score_tensor", spy)
    return names


def run(
    folder: Path,
    *,
    batch_size: int = 2,
    fresh: bool = False,
    only: Callable[[Layer], bool] = lambda layer: True,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[ScanEvent]:
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in model_layers(checkpoint).layers if only(layer)]
    plan = make_plan(checkpoint, layers, device="cpu", batch_size=batch_size, fresh=fresh)
    return list(scan(plan, cancelled=cancelled))


def scores_of(events: list[ScanEvent]) -> dict[str, float]:
    return {e.layer: e.snr for e in events if isinstance(e, LayerDone)}


def failures_of(events: list[ScanEvent]) -> dict[str, str]:
    return {e.layer: e.reason for e in events if isinstance(e, LayerFailed)}


def resumed(events: list[ScanEvent]) -> set[str]:
    return {e.layer for e in events if isinstance(e, LayerDone) and e.resumed}


def is_matrix(layer: Layer) -> bool:
    return not layer.one_dimensional


def journal_of(folder: Path) -> Path:
    return journal_path(read_checkpoint(folder).fingerprint)


class StopAfter:
    """Stops a scan from inside: true once `count` scores were computed."""

    def __init__(self, computed: list[str], count: int) -> None:
        self._computed, self._count = computed, count

    def __call__(self) -> bool:
        return len(self._computed) >= self._count


def wait_for_threads(count: int) -> None:
    """Threads that have sent their last message still need a moment to end."""
    for _ in range(500):
        if threading.active_count() <= count:
            return
        time.sleep(0.01)
    raise AssertionError(threading.enumerate())
