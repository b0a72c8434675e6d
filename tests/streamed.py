"""A model scanned straight from a hub, and the same from a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from spectrum_tui.core.events import LayerDone, LayerRescored, ScanEnded, ScanEvent
from spectrum_tui.core.model.inspection import Inspection
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.fake_hub import FakeHub
from tests.online import go_online

REPO = "org/model"


@dataclass
class Streamed:
    """A repository on a hub, and the events of scans of it."""

    hub: FakeHub
    folder: Path
    out: Path

    def scan(
        self,
        found: Inspection | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        **options: object,
    ) -> list[ScanEvent | ResultReady]:
        """Scan without a download; `found` is the model as it was inspected, if it was."""
        settings = Settings(model=REPO, stream=True, device="cpu", output_dir=str(self.out))
        return list(run_scan(_with(settings, options), found, cancelled=cancelled))

    def local(self, **options: object) -> list[ScanEvent | ResultReady]:
        """Scan the files that the hub serves, from where they lie."""
        out = self.out.with_name("local")
        settings = Settings(model=str(self.folder), device="cpu", output_dir=str(out))
        return list(run_scan(_with(settings, options)))

    def fetched(self) -> int:
        """Bytes of the ranges that were sent of values; headers are read from their first byte."""
        names = [path.name for path in self.folder.glob("*.safetensors")]
        ranges = [one for name in names for one in self.hub.ranges(name) if one[0]]
        return sum(last + 1 - first for first, last in ranges)


def _with(settings: Settings, options: dict[str, object]) -> Settings:
    return replace(settings, **options)  # type: ignore[arg-type]


def stream_from(
    folder: Path, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Streamed:
    """Serve `folder` by this hub, which runs, for scans in this process."""
    hub.repos = {REPO: folder}
    hub.forget()
    go_online(hub, tmp_path / "hub-cache", monkeypatch)
    return Streamed(hub, folder, tmp_path / "streamed")


def scores(events: list[ScanEvent | ResultReady]) -> dict[str, dict[str, float]]:
    """Every metric of every layer, as it was at last."""
    found = {event.layer: event.metrics for event in events if isinstance(event, LayerDone)}
    return found | {e.done.layer: e.done.metrics for e in events if isinstance(e, LayerRescored)}


def end(events: list[ScanEvent | ResultReady]) -> ScanEnded:
    """How a scan ended."""
    return next(event for event in events if isinstance(event, ScanEnded))


def resumed(events: list[ScanEvent | ResultReady]) -> set[str]:
    """The layers that an earlier scan had scored."""
    return {event.layer for event in events if isinstance(event, LayerDone) and event.resumed}
