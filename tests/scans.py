"""Scans of small models, run to their end, and what is read off their events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    ScanEvent,
)
from spectrum_tui.core.journal.journal import journal_path
from spectrum_tui.core.naming.layers import Layer, plan_layers
from spectrum_tui.core.naming.parameters import StoredSource, Window, plain_source
from spectrum_tui.core.naming.stored import stored_plan
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.svd import MatrixValues
from spectrum_tui.core.settings import METRICS


def layers_of(checkpoint: Checkpoint) -> tuple[Layer, ...]:
    """Every layer under the name that it is stored by, with where its matrices are."""
    sources = map(plain_source, checkpoint.tensors)
    return plan_layers(stored_plan(checkpoint, sources, "")).layers


def source_of(values: MatrixValues) -> StoredSource:
    """The stored tensor that a matrix is, or is cut from."""
    assert isinstance(values, Window)
    return values.source


def file_of(layer: Layer) -> str:
    """The file that a layer's weight lies in."""
    return source_of(layer.matrices[0].values).parts[0].file


def done(layer: Layer, snr: float) -> LayerDone:
    """What a scan says of a layer with this score, in every metric."""
    metrics = dict.fromkeys(METRICS, snr)
    return LayerDone(
        layer=layer.name,
        type=layer.type,
        shape=layer.shape,
        metrics=metrics,
        cost=layer.cost,
        bytes=layer.nbytes,
        seconds=0.0,
    )


def spy_on_scores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the weights whose scores are computed from now on."""
    names: list[str] = []
    real = svd.singular_values

    def spy(
        values: MatrixValues, rows: int, columns: int, device: str, precision: str
    ) -> svd.Spectrum:
        names.append(source_of(values).name)
        return real(values, rows, columns, device, precision)

    monkeypatch.setattr(svd, "singular_values", spy)
    return names


def run(
    folder: Path,
    *,
    batch_size: int = 2,
    fresh: bool = False,
    since: float = 0.0,
    precision: str = "auto",
    only: Callable[[Layer], bool] = lambda layer: True,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[ScanEvent]:
    checkpoint = read_checkpoint(folder)
    layers = [layer for layer in layers_of(checkpoint) if only(layer)]
    plan = make_plan(
        checkpoint,
        layers,
        device="cpu",
        batch_size=batch_size,
        since=time.time() if fresh else since,
        precision=precision,
    )
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
