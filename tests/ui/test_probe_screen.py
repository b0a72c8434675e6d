"""Measuring on data in the app: a child that is answered for, its metrics, and every way out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens import probe as probe_screen
from spectrum_tui.app.screens.probe import ProbeScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.core.saved.store import load_result, save_scores
from spectrum_tui.core.settings import DATA_METRICS, Settings
from spectrum_tui.proving.probing import asking
from tests import made
from tests.ui.way import at
from tests.ui.worker_control import DirectControl, until
from tests.unit.cli.test_probe import ANSWER, REFUSAL

SIZE = (80, 24)
WAITS = ANSWER.replace(
    "    print(said_text(said), flush=True)",
    "    print(said_text(said), flush=True)\n    isinstance(said, Doing) and sys.stdin.read()",
)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "text.txt").write_text("Some words.")
    return save_scores(made.with_parameters(made.result(model="made/llama")), tmp_path).scores


@pytest.fixture
def opened(control: DirectControl, scores: Path, monkeypatch: pytest.MonkeyPatch) -> SpectrumApp:
    monkeypatch.setattr(probe_screen, "LOOK_SECONDS", 0.01)
    return SpectrumApp(Settings(top_percent=25, output_dir=str(scores.parent)), results=scores)


def answered(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    original = asking.Probe.__init__

    def begun(self: Any, asked: Any) -> None:
        original(self, asked, (sys.executable, "-P", "-c", code))

    monkeypatch.setattr(asking.Probe, "__init__", begun)


async def set_up(pilot: Pilot[Any], app: SpectrumApp, folder: Path) -> ProbeScreen:
    await until(pilot, lambda: at(app, ResultsScreen))
    await pilot.press("D")
    await until(pilot, lambda: at(app, ProbeScreen))
    screen = app.screen
    assert isinstance(screen, ProbeScreen)
    for name, text in {"data": folder / "text.txt", "model": folder / "weights"}.items():
        screen.query_one(f"#{name}", Input).value = str(text)
    await pilot.pause()
    return screen


def said(screen: ProbeScreen) -> str:
    return str(screen._said.content)


async def test_the_metrics_of_data_stand_beside_the_others(
    opened: SpectrumApp, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, ANSWER)
    async with opened.run_test(size=SIZE) as pilot:
        screen = await set_up(pilot, opened, tmp_path)
        await until(pilot, lambda: "at the least" in said(screen))
        await pilot.press("enter")
        await until(pilot, lambda: at(opened, ResultsScreen))
        results = opened.screen
        assert isinstance(results, ResultsScreen)
        await until(pilot, lambda: set(DATA_METRICS) <= set(opened.screen.state.metrics))  # type: ignore[attr-defined]
        assert any("v ranks by gradient" in one.message for one in opened._notifications)
        results = opened.screen
        assert isinstance(results, ResultsScreen)
        assert results.state.ranking.metric.name == "spectrum"
        await pilot.press("v")
        assert results.state.ranking.metric.name == "gradient"
    assert load_result(scores).metrics[-len(DATA_METRICS) :] == DATA_METRICS


@pytest.mark.parametrize("gpu", [True, False])
async def test_what_it_takes_is_of_the_type_that_the_device_computes_in(
    opened: SpectrumApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: gpu)
    async with opened.run_test(size=SIZE) as pilot:
        screen = await set_up(pilot, opened, tmp_path)
        await until(pilot, lambda: "at the least" in said(screen))
        assert ("(bf16, an estimate)" in said(screen)) is gpu


async def test_esc_stops_it_and_nothing_is_kept(
    opened: SpectrumApp, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, WAITS)
    async with opened.run_test(size=SIZE) as pilot:
        screen = await set_up(pilot, opened, tmp_path)
        await pilot.press("enter")
        await until(pilot, lambda: "50 %: batch 1 of 2, " in said(screen))
        assert "2 passes, a block at a time" in said(screen)
        assert screen.query_one("#data", Input).disabled
        await pilot.press("escape")
        await until(pilot, lambda: "Stopped" in said(screen))
        assert opened.screen is screen and not screen.query_one("#data", Input).disabled
        await pilot.press("escape")
        await until(pilot, lambda: at(opened, ResultsScreen))
    assert "gradient" not in load_result(scores).metrics


async def test_what_is_wrong_is_said_where_it_stands(
    opened: SpectrumApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, REFUSAL)
    async with opened.run_test(size=SIZE) as pilot:
        screen = await set_up(pilot, opened, tmp_path)
        await pilot.press("enter")
        await until(pilot, lambda: "It cannot be. Do otherwise." in said(screen))
        screen._refuse("sequence", "The model takes 128 tokens.", "Give --sequence 128.")
        await until(pilot, lambda: "takes 128 tokens. Give Tokens 128." in said(screen))
        screen.query_one("#batches", Input).value = "1"
        await until(pilot, lambda: "2 to 100,000" in said(screen))
        await pilot.press("enter")
        await pilot.pause()
        assert not screen.live and "2 to 100,000" in said(screen)
        screen.query_one("#batches", Input).value, before = "2", screen.run_now
        screen.query_one("#data", Input).value = str(tmp_path / "nowhere.txt")
        await pilot.press("enter")
        await until(pilot, lambda: screen.run_now is not before and screen._polling is None)
        assert "There is no file" in screen._field("data").error
        screen.query_one("#data", Input).value = ""
        await until(pilot, lambda: not screen._field("data").error)
        await pilot.press("enter")
        await until(pilot, lambda: "Name a text" in screen._field("data").error)


async def test_a_model_that_is_not_here_takes_no_key_from_the_data(
    control: DirectControl, tmp_path: Path
) -> None:
    result = made.with_parameters(made.result(model="elsewhere"))
    alone = replace(result, provenance=replace(result.provenance, revision=""))
    scores = save_scores(alone, tmp_path).scores
    app = SpectrumApp(Settings(top_percent=25, output_dir=str(tmp_path)), results=scores)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(app, ResultsScreen))
        await pilot.press("D")
        await until(pilot, lambda: at(app, ProbeScreen))
        field = app.screen.query_one("#field-model", Field)
        await until(pilot, lambda: "Say where the model is" in field.help_text)
        await pilot.press("x")
        assert app.screen.query_one("#data", Input).value == "x"
        assert app.screen.query_one("#model", Input).value == ""
