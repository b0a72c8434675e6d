"""What the table of options says that a setting changes is what a scan does with it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import (
    DATA_METRICS,
    OPTIONS,
    Settings,
    check_metric,
    parse_metric,
)
from tests.checkpoints import llama, save

AFRESH: dict[str, Any] = {"since": math.inf}
OTHER = {"batch_size": 3, "stream": True, "download": True, **AFRESH}
"""Other values of the settings that change nothing but how long a scan takes."""


class Watched(Settings):
    """Settings that note which of them are read."""

    read: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in OPTIONS:
            Watched.read.add(name)
        return super().__getattribute__(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = save(tmp_path / "m", llama(1))
    return Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "out"))


def scanned(settings: Settings) -> bytes:
    *_, ready = run_scan(settings)
    assert isinstance(ready, ResultReady)
    return Path(ready.path).read_bytes()


def test_a_scan_reads_every_setting_that_changes_it(settings: Settings) -> None:
    """A new option of the table fails here until a scan heeds it."""
    watched = Watched(**{name: getattr(settings, name) for name in OPTIONS})
    Watched.read.clear()
    scanned(watched)
    changing = {name for name, option in OPTIONS.items() if option.changes != "output"}
    assert Watched.read == changing | {"output_dir", "metric"}


@pytest.mark.parametrize(
    "name",
    [n for n, option in OPTIONS.items() if option.changes == "speed" and n != "cluster"],
)
def test_what_changes_the_speed_changes_no_score(name: str, settings: Settings) -> None:
    """Of a cluster, `tests/cluster` shows it."""
    before = scanned(settings)
    assert scanned(replace(settings, **AFRESH | {name: OTHER[name]})) == before


@pytest.mark.parametrize("metric", DATA_METRICS)
def test_a_metric_of_data_is_known_and_no_scan_gives_it(metric: str) -> None:
    assert parse_metric(metric.upper()) == metric
    with pytest.raises(InputError, match=f"{metric} needs data") as caught:
        check_metric(metric)
    assert "spectrum-tui probe" in caught.value.hint
