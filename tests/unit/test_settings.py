"""What the table of options says that a setting changes is what a scan does with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.model.inspection import Inspection, as_far_as_known, inspect_model
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.scanning import run
from spectrum_tui.core.scanning.plan import ScanPlan
from spectrum_tui.core.scanning.run import plan_of, run_scan
from spectrum_tui.core.scanning.streaming import streams
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


def planned(settings: Settings) -> ScanPlan:
    return plan_of(settings, inspect_model(settings.model))


def is_streamed(settings: Settings, free: int) -> bool:
    """Whether it would be if it were on the hub alone, with so much room for a download."""
    found = inspect_model(settings.model)
    there = replace(found.summary, origin="hub", folder="", local_bytes=0, free=free)
    return streams(settings, replace(found, summary=there))


def names_of(settings: Settings) -> object:
    found = as_far_as_known(inspect_model(settings.model), settings)
    return found.summary.naming, [layer.name for layer in found.model.layers]


def looked_for(settings: Settings) -> list[str]:
    """The revision at which a scan looks for a model."""
    seen: list[str] = []

    def look(model: str, revision: str) -> Inspection:
        seen.append(revision)
        return inspect_model(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "inspect_model", look)
        scanned(settings)
    return seen


def why_refused(settings: Settings) -> str:
    try:
        planned(settings)
    except InputError as exc:
        return exc.field
    return ""


EFFECTS: dict[str, tuple[object, Callable[[Settings], object]]] = {
    "batch_size": (7, lambda settings: planned(settings).batch_size),
    "device": ("cuda:9", why_refused),
    "cluster": ("local", lambda settings: planned(settings).cluster),
    "precision": ("fast", lambda settings: planned(settings).precision),
    "revision": ("v2", looked_for),
    "stream": (True, lambda settings: is_streamed(settings, 2**60)),
    "download": (True, lambda settings: is_streamed(settings, 0)),
    "model_class": ("LlamaModel", names_of),
    "types": (("mlp.up_proj",), lambda settings: [one.name for one in planned(settings).layers]),
    "since": (math.inf, lambda settings: planned(settings).since),
}
"""A value of each setting that changes a scan, and what of a scan it changes. What is planned is
what is done: `unit/scanning` shows it. For `allow_gptq`, a model that needs it: `unit/worker`."""


def test_each_setting_that_changes_a_scan_has_an_effect_here() -> None:
    changing = {name for name, option in OPTIONS.items() if option.changes != "output"}
    assert EFFECTS.keys() == changing - {"model", "allow_gptq"}


@pytest.mark.parametrize("name", EFFECTS)
def test_a_setting_reaches_what_it_changes(name: str, settings: Settings) -> None:
    """Reading it is not enough: its value must arrive."""
    value, seen = EFFECTS[name]
    assert seen(replace(settings, **{name: value})) != seen(settings)  # type: ignore[arg-type]


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
