"""A proof in the app: set up from the results, run, stopped, gone on with, opened, taken over."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Checkbox, Input

from spectrum_tui.app import proofs
from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.screens import proof_setup
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.proof import ProofScreen
from spectrum_tui.app.screens.proof_setup import ProofSetupScreen
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.core.proof.rows import Job, Outcome, Progress
from spectrum_tui.core.proof.store import read_proof
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import Settings
from spectrum_tui.proving.ends import ended
from spectrum_tui.proving.process import RowProcess
from tests import made
from tests.ui.way import at, read
from tests.ui.worker_control import DirectControl, until
from tests.unit.proving.fake_row import fake_outcome
from tests.unit.proving.texts import document

SIZE = (80, 24)


class Rows:
    """Rows that are over at once; one that is to `wait` does so in its third step."""

    def __init__(self) -> None:
        self.waits = ""
        self.fails = ""
        self.slow = 0.0
        self.started: list[str] = []
        self.goes_on = threading.Event()

    def process(self) -> RowProcess:
        return FakeRow(self)


class FakeRow(RowProcess):
    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows
        self._ended = threading.Event()

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        row, rows = job.row, self._rows
        name = f"{row.method}/{row.seed}"
        rows.started.append(name)
        for step in range(1, row.steps + 1):
            tell(Progress(doing="training", step=step, steps=row.steps, loss=3 - step / 100))
            if step == 6 and name == rows.waits:
                while not (self._ended.wait(0.01) or rows.goes_on.is_set()):
                    pass
            if self._ended.is_set():
                return None, False
        failed = ended(row, "out of memory", "Less is needed with --batch 1.")
        return (failed if row.method == rows.fails else fake_outcome(job)), True

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    found = Rows()
    monkeypatch.setattr("spectrum_tui.proving.process.RowProcess", found.process)
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_setup, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("spectrum_tui.core.memory.presets.has_nvidia_gpu", lambda: False)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    for number in range(20):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{number}.txt").write_text(document(number))
    return save_scores(_result(), tmp_path).scores


def _result() -> Result:
    return made.with_parameters(made.result(model="made/llama"))


@pytest.fixture
def opened(control: DirectControl, scores: Path, rows: Rows) -> SpectrumApp:
    return SpectrumApp(Settings(top_percent=25, output_dir=str(scores.parent)), results=scores)


def value(app: SpectrumApp, name: str, text: str) -> None:
    app.screen.query_one(f"#{name}", Input).value = text


async def to_set_up(pilot: Pilot[Any], app: SpectrumApp) -> ProofSetupScreen:
    await until(pilot, lambda: at(app, ResultsScreen))
    await pilot.press("P")
    await until(pilot, lambda: at(app, ProofSetupScreen))
    screen = app.screen
    assert isinstance(screen, ProofSetupScreen)
    return screen


async def start(
    pilot: Pilot[Any], app: SpectrumApp, folder: Path, rates: str = "2e-4"
) -> ProofScreen:
    """Two seeds of four methods, at one rate."""
    await to_set_up(pilot, app)
    for name, text in {
        "data": f"{folder}/texts",
        "kept": "none",
        "steps": "8",
        "seeds": "2",
    }.items():
        value(app, name, text)
    value(app, "rates", rates)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen_stack[2], ProofScreen))
    screen = app.screen_stack[2]
    assert isinstance(screen, ProofScreen)
    return screen


def said(screen: ProofScreen) -> str:
    return str(screen._said.content)


async def over(pilot: Pilot[Any], screen: ProofScreen, phase: str = "finished") -> None:
    await until(pilot, lambda: screen.view.phase == phase)


async def test_a_proof_from_the_results_to_its_verdict(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        assert rows.started == [
            f"{m}/{seed}" for seed in (0, 1) for m in ("full", "top:25", "random:25", "bottom:25")
        ]
        assert [row.done for row in screen.table.rows] == [2, 2, 2, 2]
        folder = screen.view.folder
        proof = read_proof(folder)
        assert folder.name == "proof_made-llama"
        assert proof.verdict.lines[0] in said(screen)
        assert screen.table.current is not None
        assert screen.table.current.method == proof.verdict.best == "full"
        await pilot.press("w", "w")
        await pilot.pause()
        (files,) = opened._notifications
        assert str(folder) in files.message


async def test_a_row_is_followed_while_it_runs_and_the_stop_keeps_the_rest(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.waits = "random:25/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await until(pilot, lambda: len(screen.view.curve) == 6)
        assert screen.table.current is not None and screen.table.current.method == "random:25"
        assert "random:25, seed 0" in said(screen) and "row 3 of 8" in said(screen)
        assert screen.chart._curves[-1].bright and len(screen.chart._curves[-1].points) == 6
        await pilot.press("up")
        assert screen.table.current.method == "top:25"
        await pilot.pause(0.3)
        assert screen.table.current.method == "top:25", "who looks at a row stays there"
        await pilot.press("s")
        await over(pilot, screen, "stopped")
        assert "2 of 8 rows are kept; s goes on" in said(screen)
        assert len(read_proof(screen.view.folder).outcomes) == 2
        rows.waits = ""
        await pilot.press("s")
        await over(pilot, screen)
        assert len(rows.started) == 9, "what was kept did not run again"


async def test_no_time_is_said_that_is_not_known(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.waits = "full/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await until(pilot, lambda: len(screen.view.curve) == 6)
        run = opened.proof
        assert run is not None
        run._estimated = (math.nan, 0.0)
        await until(pilot, lambda: "time left: not known yet" in said(screen))
        run.on_estimate(3600.0)
        await until(pilot, lambda: "h left" in said(screen) or "min left" in said(screen))
        run._estimated = (5.0, run._clock() - 6)
        assert math.isnan(run.view.left), "the first row runs beyond the estimate"
        rows.waits = ""
        rows.goes_on.set()
        await over(pilot, screen)


async def test_the_first_result_comes_before_the_sweeps_of_other_methods(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.waits = "top:25/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path, rates="")
        await until(pilot, lambda: len(screen.view.curve) == 6)
        assert "top:25, trying rate 2e-4" in said(screen) and "row 6 of about 21" in said(screen)
        full, top, *_ = screen.table.rows
        assert (full.done, full.state, top.done, top.state) == (1, "done", 0, "runs")
        assert dict(screen.view.rates) == {"full": 1.5e-4}
        await pilot.press("s")
        await over(pilot, screen, "stopped")
        assert "1 of 8 rows is kept; s goes on" in said(screen)


async def test_leaving_asks_and_ends_the_row(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.waits = "full/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await until(pilot, lambda: len(screen.view.curve) == 6)
        await pilot.press("escape")
        await until(pilot, lambda: at(opened, ConfirmScreen))
        await pilot.press("n", "q")
        await until(pilot, lambda: at(opened, ConfirmScreen))
        await pilot.press("n", "escape", "y")
        await until(pilot, lambda: at(opened, ResultsScreen))
        await until(pilot, lambda: not opened.proves)
        assert rows.started == ["full/0"]


async def test_the_end_of_the_app_ends_the_row(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.waits = "full/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await until(pilot, lambda: len(screen.view.curve) == 6)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: at(opened, ConfirmScreen))
        await pilot.press("y")
    assert opened.return_code == proofs.INTERRUPTED
    assert opened.proof is not None and opened.proof._stopping


async def test_above_an_hour_it_asks(
    opened: SpectrumApp, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrum_tui.proving.runner.seconds_in_all", lambda *a, **k: 7200.0)
    rows.waits = "full/0"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await until(pilot, lambda: at(opened, ConfirmScreen))
        await pilot.press("n")
        await over(pilot, screen, "stopped")


async def test_a_failed_row_says_why_and_runs_again_when_asked(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    rows.fails = "bottom:25"
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        line = screen.table.render_row(3, 76).text
        assert "✗ bottom:25" in line and "out of memory. Less is needed with batch 1." in line
        rows.fails = ""
        await pilot.press("a")
        await over(pilot, screen)
        assert [row.state for row in screen.table.rows] == ["done"] * 4


async def test_a_row_is_taken_over(opened: SpectrumApp, rows: Rows, tmp_path: Path) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        await pilot.press("enter")
        await pilot.pause()
        assert at(opened, ProofScreen)
        assert any("no selection" in one.message for one in opened._notifications)
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: at(opened, ResultsScreen))
        results = opened.screen
        assert isinstance(results, ResultsScreen)
        policy = results.state.choice.policy
        assert len(policy.pins) == results.state.choice.mask().sum() > 0
        await pilot.press("u")
        assert results.state.choice.policy.pins == ()


@pytest.mark.parametrize("typed", ["proof.json", ""], ids=["file", "folder"])
async def test_a_proof_opens_again_and_its_row_is_taken_over(
    app: SpectrumApp,
    opened: SpectrumApp,
    rows: Rows,
    tmp_path: Path,
    typed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        folder = screen.view.folder
    DirectControl(monkeypatch)  # one of two apps would take what the other one was sent
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot, app, str(folder / typed))
        await until(pilot, lambda: at(app, ProofScreen))
        shown = app.screen
        assert isinstance(shown, ProofScreen)
        assert [row.done for row in shown.table.rows] == [2, 2, 2, 2]
        for name in ("proof.md", "proof.svg"):
            (folder / name).unlink()
        await pilot.press("w")
        await until(pilot, lambda: bool(app._notifications))
        (files,) = app._notifications
        assert files.message.startswith("proof.json is in "), "the others are not there"
        await pilot.press("down", "enter")
        await until(pilot, lambda: at(app, ResultsScreen))
        results = app.screen
        assert isinstance(results, ResultsScreen)
        assert results.state.choice.policy.percent == 25
        await pilot.press("escape", "escape")
        await until(pilot, lambda: at(app, SetupScreen))


# -- the set-up ------------------------------------------------------------------------------------


async def test_what_is_wrong_is_said_where_it_stands(opened: SpectrumApp, tmp_path: Path) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await to_set_up(pilot, opened)
        field = screen._field("data")
        await pilot.press("enter")
        assert field.error == "Name a text to train on."
        value(opened, "data", "builtin:nothing")
        await until(pilot, lambda: "no text builtin:nothing" in field.error)
        value(opened, "data", f"{tmp_path}/texts")
        await until(pilot, lambda: field.help_text.startswith("20 documents, about"))
        value(opened, "seeds", "many")
        await pilot.press("enter")
        await until(pilot, lambda: "Seeds 'many' is not usable" in str(screen._said.content))
        assert at(opened, ProofSetupScreen) and not screen._starting


async def test_what_it_takes_is_said_before(opened: SpectrumApp, tmp_path: Path) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await to_set_up(pilot, opened)
        await until(pilot, lambda: screen.methods.costs.estimates)
        text = str(screen._said.content)
        assert "12 rows of 200 steps and 12 trials of 50 for the rates: 3,000 steps" in text
        assert "GB (float32, an estimate); time is known after the first steps" in text
        before = screen.methods.costs
        screen.query_one(Checkbox).value = True
        await until(pilot, lambda: screen.methods.costs is not before)
        screen.methods.focus()
        await pilot.press("down", "right", "up", "space")
        await until(pilot, lambda: "9 rows" in str(screen._said.content))
        checked = [(one.name, one.percent) for one in screen.methods.offers if one.checked]
        assert checked == [("top", 30), ("random", 30), ("bottom", 30)]
        await pilot.press("down", "plus")
        checked = [(one.name, one.percent) for one in screen.methods.offers if one.checked]
        assert checked == [("top", 30), ("top", 15), ("random", 30), ("bottom", 30)]
        await pilot.press("minus")
        assert len([one for one in screen.methods.offers if one.name == "top"]) == 1


async def test_it_begins_where_the_last_proof_was(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        await pilot.press("escape")
        again = await to_set_up(pilot, opened)
        await until(pilot, lambda: again._earlier is not None)
        assert (again.typed.steps, again.typed.seeds) == ("8", "2")
        assert again.typed.rates == "full=2e-4,top:25=2e-4,random:25=2e-4,bottom:25=2e-4"
        assert "8 rows are in the folder already" in str(again._said.content)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: at(opened, ProofScreen))


async def test_a_shaped_selection_is_a_row_of_its_own(
    opened: SpectrumApp, rows: Rows, tmp_path: Path
) -> None:
    async with opened.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: at(opened, ResultsScreen))
        await pilot.press("space")
        screen = await start(pilot, opened, tmp_path)
        await over(pilot, screen)
        assert [row.label for row in screen.table.rows][:2] == ["full", "selection"]
        results = opened.screen_stack[-2]
        assert isinstance(results, ResultsScreen)
        before = results.state.choice.policy
        results.state.undo()
        await pilot.press("home", "down", "enter")
        await until(pilot, lambda: at(opened, ResultsScreen))
        assert results.state.choice.policy == before
