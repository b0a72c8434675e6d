"""Files of a folder on the web that are replaced during a scan and put back: nothing of them is
kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.errors import HubError, ModelChangedError
from spectrum_tui.core.events import LayerDone
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.scanning import watch
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scanning.watch import Watch
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.fake_hub import FakeHub
from tests.streamed import resumed, scores

REPO = "org/unmarked"


@pytest.fixture
def asked(
    online: FakeHub, repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A scan of a folder whose server says nothing of when a file changes."""
    monkeypatch.setitem(repos, REPO, tmp_path / "made")
    write(repos[REPO])
    online.web_marks = ()
    assert online._server is not None
    url = f"http://localhost:{online._server.server_port}/web/{REPO}"
    return Settings(model=url, device="cpu", output_dir=str(tmp_path / "out"), batch_size=1)


def write(folder: Path, power: int = 1) -> None:
    """Put weights into a folder whose scores depend on `power`, of one header, size and time."""
    weights = {name: tensor**power for name, tensor in llama(1).items()}
    for path in save(folder, weights, shards=2).iterdir():
        os.utime(path, (0, 0))


@pytest.mark.parametrize("marks", [(), ("Last-Modified",)])
@pytest.mark.parametrize("stops", [True, False])
def test_files_that_were_others_for_a_while_leave_no_score(
    asked: Settings,
    online: FakeHub,
    repos: dict[str, Path],
    stops: bool,
    marks: tuple[str, ...],
) -> None:
    online.web_marks = marks
    found = inspect_model(asked.model)
    write(repos[REPO], power=3)
    seen: list[object] = []
    with pytest.raises(ModelChangedError, match="changed during the scan"):
        for event in run_scan(asked, found, cancelled=lambda: stops and bool(seen)):
            if isinstance(event, LayerDone):
                seen.append(event)
    assert seen and not list(Path(asked.output_dir).rglob("*.json"))
    write(repos[REPO])
    events = list(run_scan(asked))
    local = replace(asked, model=str(repos[REPO]), output_dir=f"{asked.output_dir}2")
    assert not resumed(events) and scores(events) == scores(list(run_scan(local)))


@pytest.mark.parametrize("often", [True, False])
def test_what_a_look_has_confirmed_is_kept_whatever_ends_the_scan(
    asked: Settings, often: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BETWEEN", 0.0 if often else 60.0)
    monkeypatch.setattr(watch, "SHARE", 0)
    events = run_scan(asked)
    done = (event for event in events if isinstance(event, LayerDone))
    before = {next(done).layer, next(done).layer}
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert (resumed(list(run_scan(asked))) >= before) == often


def test_a_scan_that_is_stopped_keeps_what_the_last_look_confirms(asked: Settings) -> None:
    seen: list[str] = []
    for event in run_scan(asked, cancelled=lambda: bool(seen)):
        if isinstance(event, LayerDone):
            seen.append(event.layer)
    assert resumed(list(run_scan(asked))) == set(seen)


def test_a_look_that_fails_is_made_up_for_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BETWEEN", 0.0)
    looks = [HubError("Nobody is there."), None]
    kept: list[object] = []

    class Kept:
        def append(self, *written: object) -> None:
            kept.append(written)

    def look(check: object) -> None:
        if error := looks.pop(0):
            raise error

    held = Watch(look, lambda: False, marked=False)
    with held.over(Kept()):  # type: ignore[arg-type]
        held.append("a score")  # type: ignore[arg-type]
        held.look_if_due()
        assert not kept
        monkeypatch.setattr(held, "_due", 0.0)
        held.look_if_due()
        assert kept == [("a score", None)] and not held.note
