"""The scan screen over a progress that the test feeds, with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, ProgressBar, Static

from spectrum_tui.app import messages as ask
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.scan import ScanScreen
from spectrum_tui.app.widgets.scan_summary import ScanSummary
from spectrum_tui.app.widgets.score_feed import ScoreFeed
from spectrum_tui.app.widgets.type_progress import TypeProgressView
from spectrum_tui.core.events import (
    KEPT,
    LayerDone,
    LayerFailed,
    LayerStarted,
    NodesChanged,
    ScanEnded,
    ScanStarted,
)
from spectrum_tui.worker.progress import ScanProgress
from tests.ui.worker_control import until

SIZE = (80, 24)
NASTY = "a[/b][red]"
TYPE = "mlp.down_proj"


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


class Host(BaseApp):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Message] = []
        self.clock = Clock()
        self.progress = ScanProgress(self.clock)
        self.scan = ScanScreen(self.progress, NASTY)

    def get_default_screen(self) -> Screen[Any]:
        return self.scan

    def on_stop_requested(self, message: ask.StopRequested) -> None:
        self.asked.append(message)
        self.progress.stopping()

    def on_force_stop_requested(self, message: ask.ForceStopRequested) -> None:
        self.asked.append(message)
        self.progress.end("stopped", "Ended at once.")

    def on_resume_requested(self, message: ask.ResumeRequested) -> None:
        self.asked.append(message)

    def on_partial_results_requested(self, message: ask.PartialResultsRequested) -> None:
        self.asked.append(message)

    def begin(self, layers: int = 10) -> None:
        self.progress.begin()
        self.progress.feed(
            ScanStarted(
                layers=layers, cost=layers * 10.0, types={TYPE: layers}, device="cpu", batch_size=2
            )
        )

    def done(self, i: int) -> None:
        self.clock.time += 2
        layer = f"model.layers.{i}.{TYPE}"
        self.progress.feed(
            LayerDone(
                layer=layer,
                type=TYPE,
                shape=(8, 16),
                metrics={"spectrum": 1.5 + i},
                cost=10.0,
                bytes=5_000_000,
                seconds=2.0,
            )
        )

    def fail(self, layer: str, reason: str) -> None:
        self.progress.feed(
            LayerFailed(layer=layer, type=TYPE, shape=(8, 16), reason=reason, cost=10.0)
        )

    def figure(self, name: str) -> str:
        return str(self.scan.query_one(f"#{name} .figure--value", Static).content)

    def note(self) -> str:
        return str(self.scan.query_one("#scan-note", Static).content)

    def heading(self) -> str:
        return str(self.scan.query_one(ScanSummary).border_title)

    def keys(self) -> dict[str, str]:
        active = self.screen.active_bindings
        return {key: one.binding.description for key, one in active.items() if one.binding.show}


def lines(view: ScoreFeed | TypeProgressView) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.line_count)]


async def test_running() -> None:
    app = Host()
    app.begin()
    for i in range(4):
        app.done(i)
    app.progress.feed(LayerStarted(f"model.layers.4.{TYPE}", TYPE, (1408, 512), 10.0))
    app.progress.set_memory(1_234_000_000)
    app.clock.time += 1
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.heading() == "Scanning"
        assert app.figure("layers") == "4 of 10"
        assert app.figure("elapsed") == "9 s"
        assert app.figure("eta") == "11 s"  # 60 units at 2 s for 10, one second of which is done
        assert app.figure("rate") == "0.50"
        assert app.figure("bytes") == "2.50 MB"
        assert app.figure("memory") == "1.23 GB"
        assert app.scan.query_one(ProgressBar).percentage == pytest.approx(0.4)
        assert "1408 × 512" in str(app.scan.query_one("#work", Static).content)
        (row,) = lines(app.scan.query_one(TypeProgressView))
        assert TYPE in row and row.endswith("4/10")
        scores = lines(app.scan.query_one(ScoreFeed))
        assert [line.split()[0] for line in scores] == ["4.5000", "3.5000", "2.5000", "1.5000"]
        assert scores[0].endswith("layers.3.mlp.down_proj")


async def test_before_the_plan_is_known() -> None:
    app = Host()
    app.progress.begin()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert (app.heading(), app.figure("layers"), app.figure("eta")) == ("Starting", "–", "–")


async def test_memory_that_is_not_known_is_not_made_up() -> None:
    app = Host()
    app.begin()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.figure("memory") == "–"


async def test_the_nodes_of_a_cluster_are_followed() -> None:
    """Their memory is not this machine's; of those that come and go the last is told."""
    app = Host()
    app.begin()
    app.progress.feed(
        ScanStarted(
            layers=10,
            cost=100.0,
            types={TYPE: 10},
            device="2 nodes (2 cores)",
            batch_size=2,
            elsewhere=True,
        )
    )
    app.progress.set_memory(1_234_000_000)
    for name in ("a", "b"):
        lost = f"1 node of the cluster is lost ({name})."
        app.progress.feed(NodesChanged("1 node (1 core)", 1, lost))
    app.progress.feed(NodesChanged("1 node (2 cores)", 2))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.figure("memory") == "–"
        assert app.note() == (
            "On 1 node (2 cores), 2 matrices at a time. 1 node of the cluster is lost (b)."
        )


async def test_failures_are_rows_with_a_reason_and_can_be_shown_alone() -> None:
    app = Host()
    app.begin()
    app.done(0)
    app.fail(NASTY, "contains NaN")
    app.done(1)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        feed = app.scan.query_one(ScoreFeed)
        assert "✗ 1 failed." in app.note()
        assert [f"✗  {NASTY}" in line for line in lines(feed)] == [False, True, False]
        assert lines(feed)[1].endswith("contains NaN")
        await pilot.press("f")
        assert [line.split()[0] for line in lines(feed)] == ["✗"]
        assert feed.border_title == "Failures: 1"
        await pilot.press("f")
        types = app.scan.query_one(TypeProgressView)
        # The types are laid out again.
        await until(pilot, lambda: lines(types)[0].endswith("2/10 ✗1"))
        assert len(lines(feed)) == 3
        assert lines(types)[0].endswith("2/10 ✗1")


async def test_what_came_from_an_earlier_scan_is_said() -> None:
    app = Host()
    app.begin(layers=1)
    app.progress.feed(
        LayerDone(
            layer="x",
            type=TYPE,
            shape=(8, 16),
            metrics={"spectrum": 1.0},
            cost=10.0,
            bytes=5,
            seconds=0.0,
            resumed=True,
        )
    )
    app.progress.feed(ScanEnded("finished", 1, 0))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "1 came from an earlier scan." in app.note()
        assert lines(app.scan.query_one(ScoreFeed)) == ["All from an earlier scan."]


@pytest.mark.parametrize("key", ["s", "escape"])
async def test_stop_then_stop_at_once(key: str) -> None:
    app = Host()
    app.begin()
    app.done(0)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press(key)
        app.scan.poll()
        assert app.heading() == "Stopping after the matrices in progress …"
        await pilot.press("escape")  # harmless: only s ends it at once
        await pilot.press("s")
        app.scan.poll()
        assert [type(m) for m in app.asked] == [ask.StopRequested, ask.ForceStopRequested]
        assert app.heading() == "Stopped"
        assert app.note().startswith("Ended at once. 1 of 10 layers is kept")


async def test_stopped_offers_to_go_on_and_results() -> None:
    app = Host()
    app.begin()
    app.done(0)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        app.progress.feed(ScanEnded("stopped", 1, 0))
        app.scan.poll()
        await pilot.pause()
        assert app.focused is app.scan.query_one("#go-on", Button)
        assert not app.scan.query_one("#work").display
        await pilot.press("enter")
        await pilot.press("g")
        await pilot.press("r")
        await pilot.click("#results")
        kinds = [type(m) for m in app.asked]
        assert kinds == [ask.ResumeRequested] * 2 + [ask.PartialResultsRequested] * 2
        app.begin()
        app.scan.poll()
        await pilot.pause()
        assert (app.heading(), app.scan.query_one("#work").display) == ("Scanning", True)


async def test_a_dead_worker_is_said_plainly() -> None:
    app = Host()
    app.begin()
    app.done(0)
    async with app.run_test(size=SIZE) as pilot:
        app.progress.end("died", "The scan process was killed (SIGKILL; out of memory?).")
        app.scan.poll()
        await pilot.pause()
        assert app.heading() == "The scan process died"
        assert app.note() == (
            "The scan process was killed (SIGKILL; out of memory?). "
            "1 of 10 layers is kept; continuing starts from there."
        )
        assert app.scan.query_one(ScanSummary).has_class("-trouble")
        await pilot.press("g")
        assert isinstance(app.asked[-1], ask.ResumeRequested)


async def test_a_scan_that_cannot_start_says_why() -> None:
    app = Host()
    app.progress.begin()
    app.progress.end("failed", "Cannot write /x: No space left. Free some space.")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.heading() == "The scan could not continue"
        assert app.note() == "Cannot write /x: No space left. Free some space. "


async def test_the_footer_shows_what_works_now() -> None:
    app = Host()
    app.begin()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.keys()["s"] == "Stop"
        assert not {"g", "r", "f"} & set(app.keys())
        app.fail("x", "y")
        app.progress.feed(ScanEnded("stopped", 1, 1))
        app.scan.poll()
        await pilot.pause()
        shown = app.keys()
        assert {shown[key] for key in "gr"} == {"Continue", "Results"}
        assert (shown["f"], shown["escape"]) == ("Failures", "Back")
        assert "s" not in shown
        assert len(set(shown.values())) <= 7


async def test_a_network_that_ends_a_scan_is_said_without_a_word_of_commands() -> None:
    app = Host()
    app.begin()
    app.done(0)
    app.progress.feed(ScanEnded("stopped", 1, 0, (f"Cannot reach a.b. {KEPT}",)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        note = str(app.scan.query_one("#scan-note", Static).visual)
        assert note == "1 of 10 layers is kept; continuing starts from there. Cannot reach a.b."


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40), (160, 50)])
async def test_nothing_is_cut_off(size: tuple[int, int]) -> None:
    app = Host()
    app.begin()
    for i in range(8):
        app.progress.feed(LayerStarted(f"model.layers.{i}.{TYPE}", TYPE, (1408, 512)))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for selector in ("ScanSummary", "#work", "#types", "#scores", "Footer"):
            region = app.scan.query_one(selector).region
            assert region.width > 10 and region.height > 0 and region.bottom <= size[1]
        assert app.scan.query_one("#types").size.height >= 2


async def test_hundreds_of_types_scroll() -> None:
    app = Host()
    app.progress.begin()
    types = {f"mlp.experts.{i}.w1": 60 for i in range(700)}
    app.progress.feed(ScanStarted(layers=42_000, cost=1e6, types=types, device="cpu", batch_size=2))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        view = app.scan.query_one(TypeProgressView)
        view.focus()
        await pilot.press("end")
        assert view.line_count == 700
        assert "experts.699.w1" in view.render_line(view.size.height - 1).text
