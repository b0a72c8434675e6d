"""Models one after the other: adding them, how each ends, what stops and what leaves the queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.scan_queue import Queued, ScanQueue
from spectrum_tui.app.scans import IN_LIBRARY
from spectrum_tui.app.screens.add_model import AddModelScreen
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.library import LibraryScreen
from spectrum_tui.app.screens.queue import QueueScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.widgets.queue_view import QueueView, line_of
from spectrum_tui.app.widgets.scan_summary import ScanSummary
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core.layer_types import scanned_by_default
from spectrum_tui.core.saved import library
from spectrum_tui.core.scanning import run
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.snapshots import models
from tests.ui.way import SIZE, at, phase, to_scan
from tests.ui.worker_control import PATIENCE, DirectControl, until

ALL = tuple(f"layer {i}" for i in range(6))


async def add(pilot: Pilot[Any], app: SpectrumApp, *models: str) -> None:
    for model in models:
        await pilot.press("a")
        await until(pilot, lambda: at(app, AddModelScreen))
        app.screen.query_one("#model", Input).value = model
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: at(app, ScanScreen))


async def turn(pilot: Pilot[Any], app: SpectrumApp, model: str) -> None:
    """Wait until a model is scanned."""
    await until(pilot, lambda: (app.runner.model, phase(app)) == (model, "running"))


def states(app: SpectrumApp) -> list[str]:
    return [one.state for one in app.queue.models]


def toasts(app: SpectrumApp) -> list[str]:
    return [f"{one.title}: {one.message}" for one in app._notifications]


def _is_said(line: Static, text: str) -> bool:
    return text in str(line.visual)


def shown(app: SpectrumApp) -> str:
    return str(app.screen.query_one(QueueView).visual)


async def test_models_are_scanned_one_after_the_other(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        assert not app.screen.query_one(QueueView).display
        await add(pilot, app, "second", "third")
        await until(pilot, lambda: "2 waiting: second, third" in shown(app))
        control.tell(*ALL, "finish")
        await turn(pilot, app, "second")
        assert at(app, ScanScreen)
        assert f"good: 6 layers scored: {IN_LIBRARY}" in toasts(app)
        await until(pilot, lambda: "1 scored, 1 waiting: third" in shown(app))
        assert app.screen.query_one(StepBar).detail == "second"
        control.tell(*ALL[:3], "bad 3", "finish")
        await turn(pilot, app, "third")
        control.tell("layer 0", "finish")
        await until(pilot, lambda: at(app, ResultsScreen))
        results = app.screen
        assert isinstance(results, ResultsScreen)
        assert results.state.result.source.endswith("snr_results_third.json")
        assert states(app) == ["done", "done", "done"]
        assert [one.said for one in app.queue.models][1] == "3 layers scored, 1 failed"
        sent = [request.settings for request in control.requests("scan")]
        assert [one.model for one in sent] == ["good", "second", "third"]
        assert [one.types for one in sent] == [("mlp.down_proj",), (), ()]
        assert sent[1].output_dir == sent[0].output_dir
        await pilot.press("escape")
        assert at(app, LayersScreen)
        summary = app.setup_screen.summary
        assert summary is not None
        assert summary.model == "good"


@pytest.mark.parametrize(
    ("first", "wanted", "words", "line"),
    [
        (
            ("self_attn.k_proj", "lm_head"),
            ("lm_head", "self_attn.k_proj"),
            "Those of the 2 types chosen for",
            "2",
        ),
        ((), (), "as by default", ""),
        (("nothing.of.it",), (), "The type chosen for", ""),
    ],
    ids=["chosen", "default", "none shared"],
)
def test_the_types_chosen_for_the_first_model_are_those_of_the_next(
    first: tuple[str, ...], wanted: tuple[str, ...], words: str, line: str
) -> None:
    llama_8b, other = models.llama(), replace(models.llama(), model="b", name="b")
    queue = ScanQueue()
    types = first or tuple(scanned_by_default(llama_8b.types))
    queue.begin(Queued(summary=llama_8b, settings=Settings(), types=types))
    assert set(queue.types_for(other)) == set(wanted)
    assert words in queue.types_words
    lacks = queue.lacks_types(other)
    assert lacks is (first == ("nothing.of.it",))
    waits = Queued(
        summary=other, settings=Settings(), types=queue.types_for(other), lacks_types=lacks
    )
    said = f"waits, {line} types of it" if line else "waits"
    assert line_of(waits, 9).plain.endswith(
        f"{said}{', all types: it has none of the chosen' * lacks}"
    )


async def test_a_failure_does_not_stop_the_next(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second", "third")
        control.tell("refuse The disk is full.")
        await turn(pilot, app, "second")
        assert "good was not scanned: The disk is full. Mend it." in toasts(app)
        control.tell("layer 0", "changed It is another one.")
        await turn(pilot, app, "third")
        assert [one.said for one in app.queue.models] == [
            "The disk is full. Mend it.",
            "It is another one. Mend it.",
            "",
        ]
        control.tell("refuse No room.")
        await until(pilot, lambda: phase(app) == "failed")
        await until(pilot, lambda: app.screen.has_class("-over"))
        assert at(app, ScanScreen)
        assert states(app) == ["failed"] * 3
        await pilot.press("w")
        assert at(app, QueueScreen)
        lines = [str(one.prompt) for one in app.screen.query_one(OptionList).options]
        assert lines[1] == "✗ second  It is another one. Mend it."


async def test_a_model_is_looked_at_before_it_waits(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("a")
        field = app.screen.query_one("#model", Input)
        state = app.screen.query_one("#state", Static)
        refused = {
            "nothing": "There is no model nothing. Check it.",
            "good": "good is in the queue already.",
            "x.json": "This is no model.",
        }
        for typed, said in refused.items():
            field.value = typed
            await pilot.pause()
            await pilot.press("enter")
            await until(pilot, partial(_is_said, state, said))
        field.value = "silent"
        await pilot.pause()
        await pilot.press("enter", "enter")
        await until(pilot, lambda: len(control.requests("check")) == 3)
        field.value = "second"
        await pilot.pause()
        assert "as by default" in str(state.visual)
        await pilot.press("escape")
        assert at(app, ScanScreen)
        assert app.queue.waiting == []
        assert not app.screen.query_one(QueueView).display


async def test_a_burst_of_keys_adds_a_model(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("a", *"second", "enter")
        await until(pilot, lambda: app.queue.waiting)
        await pilot.press("a", "down", *["down"] * 5, "enter", "w")
        await until(pilot, lambda: len(app.queue.waiting) == 2)
        assert [one.name for one in app.queue.waiting] == ["second", "demo model"]


async def test_one_that_waits_is_dropped(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second", "third", "fourth")
        await pilot.press("w", "down", "delete", "up", "up", "delete", "escape")
        assert at(app, ScanScreen)
        assert [one.name for one in app.queue.models] == ["good", "second", "fourth"]


async def test_what_is_done_opens_from_the_queue_while_others_are_scanned(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second")
        control.tell(*ALL, "finish")
        await turn(pilot, app, "second")
        await pilot.press("w", "home", "enter")
        await until(pilot, lambda: at(app, ResultsScreen))
        control.tell(*ALL, "finish")
        await until(pilot, lambda: states(app) == ["done", "done"])
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, ResultsScreen)
        assert screen.state.result.source.endswith("snr_results_good.json")
        assert any(said.startswith("second: 6 layers scored") for said in toasts(app))
        await pilot.press("escape")
        assert at(app, ScanScreen)
        await until(pilot, lambda: app.screen.query_one(ScanSummary).border_title == "Finished")
        await pilot.press("r")
        await until(pilot, lambda: at(app, ResultsScreen))
        assert [type(one) for one in app.screen_stack][1:] == [LayersScreen, ResultsScreen]


async def test_the_library_opens_over_a_scan(app: SpectrumApp, control: DirectControl) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("ctrl+l")
        assert at(app, LibraryScreen)
        control.tell(*ALL, "finish")
        await until(pilot, lambda: toasts(app))
        assert at(app, LibraryScreen)
        assert toasts(app) == [f"good: 6 layers scored: {IN_LIBRARY}"]


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_stopping_asks_about_the_rest(
    app: SpectrumApp, control: DirectControl, answer: str
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second")
        control.tell("layer 0")
        await until(pilot, lambda: app.runner.progress.snapshot().done == 1)
        await pilot.press("s")
        assert at(app, ConfirmScreen)
        await until(pilot, lambda: states(app)[0] == "stopped")
        assert at(app, ConfirmScreen)
        await pilot.press(answer)
        assert at(app, ScanScreen)
        if answer == "n":
            await until(pilot, lambda: app.screen.has_class("-over"))
            assert states(app) == ["stopped", "waiting"]
            assert str(app.screen.query_one("#next", Button).label) == "Next: second"
            await pilot.click("#next")  # n at once would be the second press on the dialog
        await turn(pilot, app, "second")
        assert states(app) == ["stopped", "running"]


async def test_a_stopped_model_goes_on_and_the_queue_after_it(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second")
        control.tell("layer 0")
        await until(pilot, lambda: app.runner.progress.snapshot().done == 1)
        await pilot.press("s", "escape")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await pilot.press("g")
        await turn(pilot, app, "good")
        control.tell("finish")
        await turn(pilot, app, "second")
        assert states(app) == ["done", "running"]


async def test_a_model_that_is_added_when_nothing_is_scanned_begins(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await add(pilot, app, "second")
        await turn(pilot, app, "second")
        assert states(app) == ["stopped", "running"]


async def test_what_is_said_of_score_files_stays_beside_the_results(
    app: SpectrumApp, control: DirectControl
) -> None:
    """The scan screen, which shows notes, is gone by then."""
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        control.tell(*ALL, "finish snr_results_good.json[/] is replaced.")
        await until(pilot, lambda: at(app, ResultsScreen))
        assert ": snr_results_good.json[/] is replaced." in toasts(app)


@pytest.mark.parametrize("added", [True, False])
async def test_results_wait_for_who_adds_a_model(
    app: SpectrumApp, control: DirectControl, added: bool
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await pilot.press("a", *"seco")
        control.tell(*ALL, "finish")
        await until(pilot, lambda: app._later is not None)
        assert at(app, AddModelScreen)
        if added:
            await pilot.press(*"nd", "enter")
            await turn(pilot, app, "second")
            await pilot.pause()
            assert at(app, ScanScreen)
        else:
            await pilot.press("escape")
            await until(pilot, lambda: at(app, ResultsScreen))


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_leaving_a_queue_says_what_is_lost(
    app: SpectrumApp, control: DirectControl, answer: str
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "second", "third")
        await pilot.press("q")
        lost = "2 models wait and will not be scanned: second, third."
        assert lost in str(app.screen.query_one("#detail", Static).visual)
        await pilot.press("n", "s", "n")
        await until(pilot, lambda: app.screen.has_class("-over"))
        await pilot.press("ctrl+q")
        assert lost in str(app.screen.query_one("#detail", Static).visual)
        await pilot.press("n", "escape")
        assert at(app, ConfirmScreen)
        assert lost in str(app.screen.query_one("#detail", Static).visual)
        await pilot.press(answer)
        assert at(app, LayersScreen if answer == "y" else ScanScreen)
        assert len(app.queue.waiting) == (0 if answer == "y" else 2)


async def test_a_download_of_the_queue_leaves_the_first_screens_alone(
    app: SpectrumApp, control: DirectControl
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await to_scan(pilot, app)
        await add(pilot, app, "org/remote")
        control.tell(*ALL, "finish")
        await until(pilot, lambda: len(control.requests("scan")) == 2)
        control.tell("progress 500 2000", "downloaded")
        await turn(pilot, app, "org/remote")
        control.tell(*ALL, "finish")
        await until(pilot, lambda: at(app, ResultsScreen))
        for shown in (app.setup_screen.summary, app._summary):
            assert shown is not None
            assert shown.model == "good"


@pytest.mark.usefixtures("real_core")
async def test_real_scans_stand_in_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = threading.Event()
    real = run.run_scan

    def run_scan(*arguments: Any, **named: Any) -> Iterator[object]:
        assert added.wait(PATIENCE)  # a tiny model would be done before any key
        yield from real(*arguments, **named)

    monkeypatch.setattr(run, "run_scan", run_scan)
    models = [save(tmp_path / name, llama(2)) for name in ("one", "two")]
    app = SpectrumApp(Settings(model=str(models[0]), output_dir=str(tmp_path / "out")))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.setup_screen.summary)
        await pilot.press("enter")
        await until(pilot, lambda: at(app, LayersScreen))
        await pilot.press("s")
        await until(pilot, lambda: at(app, ScanScreen))
        await add(pilot, app, str(models[1]))
        added.set()
        await until(pilot, lambda: at(app, ResultsScreen))
        assert states(app) == ["done", "done"]
        assert {entry.model for entry in library.entries()} == {"one", "two"}
        assert len(list((tmp_path / "out" / "model_snr_results").glob("*.json"))) == 2
