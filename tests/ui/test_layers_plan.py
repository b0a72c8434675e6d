"""What the layers screen says of the scan to come: sizes, time, earlier scores."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from textual.widgets import Button
from textual.widgets._footer import FooterKey

from spectrum_tui.app.widgets.plan_panel import NOTHING_CHECKED, CheckedTypes, estimate
from spectrum_tui.core.requests import Kept, Origin, Ready
from spectrum_tui.core.settings import Settings
from tests.ui.layers_host import READY, SUMMARY, TYPES, Host


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_plan_follows_the_tree(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert "3 of 4" in app.plan()
        assert "2.00 B" in app.plan()
        assert "50.0 %" in app.plan()
        assert "4.00 GB" in app.plan()
        await pilot.press("space")  # attention
        await pilot.pause()
        assert "2 of 4" in app.plan()
        assert "1.50 B" in app.plan()
        assert "3.00 GB" in app.plan()


async def test_the_time_is_known_once_the_machine_is_measured() -> None:
    app = Host(settings=Settings(device="cpu"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "measuring this machine" in app.plan()
        app.layers.set_ready(READY)
        assert "about 4 min" in app.plan()
        assert "on cpu" in app.plan()
        await pilot.press("n")
        await pilot.press("down", "space")
        await pilot.pause()
        assert "about 1 min" in app.plan()


async def test_the_time_of_a_cluster_is_not_that_of_this_machine() -> None:
    app = Host(settings=Settings(cluster="auto"))
    app.layers.set_ready(READY)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "no estimate for a cluster" in app.plan()


async def test_a_machine_measured_before_the_screen_opens() -> None:
    app = Host(settings=Settings(device="cpu"))
    app.layers.set_ready(READY)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "about 4 min on cpu" in app.plan()


def test_estimate_picks_the_device_that_will_be_used() -> None:
    plan = CheckedTypes.of(SUMMARY, TYPES)
    assert estimate(plan, READY, "auto") == ("about 1 min", "on cuda:0")
    assert estimate(plan, READY, "cuda") == ("about 1 min", "on cuda:0")
    assert estimate(plan, READY, "cpu") == ("about 4 min", "on cpu")
    several = replace(READY, devices=("cpu", "cuda:0", "cuda:1"))
    several = replace(several, seconds_per_cost={"cpu": 2.0, "cuda:0": 0.5, "cuda:1": 0.125})
    assert estimate(plan, several, "auto") == ("about 10 s", "on 2 GPUs")
    assert estimate(plan, several, "cuda:0") == ("about 1 min", "on cuda:0")
    fast = Ready(("cpu",), {"cpu": 1e-30})
    assert estimate(plan, fast, "cpu") == ("less than 1 s", "on cpu")
    assert estimate(plan, READY, "mps") == ("no estimate for mps", "")
    assert estimate(plan, Ready((), {}), "auto") == ("no estimate for auto", "")
    assert estimate(plan, None, "cpu")[0].startswith("measuring")


def test_a_plan_reads_what_its_matrices_are_stored_in() -> None:
    norms = dataclasses.replace(TYPES[2], nbytes=200_000)
    assert CheckedTypes.of(SUMMARY, (*TYPES[:2], norms)).nbytes == 4_000_000_000
    nothing = dataclasses.replace(SUMMARY, parameters=0, types=())
    assert CheckedTypes.of(nothing, ()).share == 0


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_nothing_checked_is_said_and_not_scanned(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.press("n", "s")
        await pilot.pause()
        assert app.requests == []
        assert NOTHING_CHECKED in app.plan()
        await pilot.press("a")
        await pilot.pause()
        assert NOTHING_CHECKED not in app.plan()


async def test_earlier_scores_are_kept_unless_started_afresh() -> None:
    scored = {TYPES[0].name: 30, TYPES[1].name: 7}
    kept = {TYPES[0].name: Kept(nbytes=500_000_000, cost=30.0)}
    app = Host(replace(SUMMARY, scored=scored, kept=kept), Settings(device="cpu"))
    async with app.run_test(size=(80, 24)) as pilot:
        app.layers.set_ready(READY)
        assert "37 layers are already scored and will not be computed again" in app.notes()
        assert "3.50 GB to read" in app.plan() and "about 3 min" in app.plan()
        await pilot.press("f")
        assert "will be computed again" in app.notes()
        assert "4.00 GB to read" in app.plan() and "about 4 min" in app.plan()
        await pilot.press("s")
        await pilot.pause()
        assert app.requests[0].fresh
        await pilot.press("f", "s")
        await pilot.pause()
        assert not app.requests[1].fresh


async def test_the_earlier_scores_that_are_counted_are_those_of_the_checked_types() -> None:
    app = Host(replace(SUMMARY, scored={TYPES[0].name: 30, TYPES[1].name: 7}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f")
        assert "Starting afresh: 37 layers will be computed again by the next scan." in app.notes()
        app.layers.panel.show(CheckedTypes.of(app.layers.summary, TYPES[1:]))
        assert "Starting afresh: 7 layers will be computed again by the next scan." in app.notes()
        await pilot.press("n")
        await pilot.pause()
        assert "No layer of the checked types has a score yet." in app.notes()


@pytest.mark.parametrize(
    ("precision", "device", "cluster", "exact"),
    [
        ("exact", "cuda", "", True),
        ("fast", "cpu", "", False),
        ("auto", "auto", "", False),
        ("auto", "auto", "local", True),
        ("auto", "cpu", "", True),
        ("auto", "cuda:9", "", True),
    ],
)
async def test_fast_scores_are_no_scores_for_an_exact_scan(
    precision: str, device: str, cluster: str, exact: bool
) -> None:
    name = TYPES[0].name
    kept = {name: Kept(nbytes=300_000_000, cost=2.0, fast_nbytes=200_000_000, fast_cost=1.0)}
    summary = replace(SUMMARY, scored={name: 30}, scored_fast={name: 12}, kept=kept)
    app = Host(summary, Settings(precision=precision, device=device, cluster=cluster))
    async with app.run_test(size=(80, 24)) as pilot:
        app.layers.set_ready(replace(READY, fast=("cuda:0",)))
        await pilot.pause()
        said = "18 layers are already" if exact else "30 layers are already"
        assert said in app.notes()
        assert ("3.90 GB" if exact else "3.70 GB") in app.plan()
        again = "12 in fast precision will: this scan is exact."
        assert (again in app.notes()) is exact


REMOTE = replace(SUMMARY, origin="hub", folder="", local_bytes=0)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("free", [None, 9_000_000_000, 7_000_000_000])
async def test_a_hub_model_is_scanned_with_or_without_a_download(
    size: tuple[int, int], free: int | None
) -> None:
    app = Host(replace(REMOTE, free=free))
    without = free == 7_000_000_000
    first, then = "The scan downloads 8.00 GB first", "The scan reads from the hub"
    async with app.run_test(size=size) as pilot:
        for streamed in (without, not without, without):
            notes = " ".join(app.notes().split())
            assert (then if streamed else first) in notes
            assert (then not in notes) or (first not in notes)
            label = "Scan without downloading" if streamed else "Download and scan"
            button = app.layers.query_one("#start", Button)
            assert f"{button.label}" == f"{label} (s)"
            assert button.size.width >= len(f"{label} (s)")  # as wide as what it says by now
            (key,) = [one for one in app.layers.query(FooterKey) if one.key == "w"]
            assert key.description == ("Download" if streamed else "No download")
            await pilot.press("s", "w")
            await pilot.pause()
        asked = [app.layers.summary.is_streamed(request.settings) for request in app.requests]
        assert asked == [without, not without, without]
    full = "8.00 GB do not fit on this disk (7.00 GB free)."
    assert (full in notes) is without


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_time_over_a_network_is_that_of_computing(size: tuple[int, int]) -> None:
    for summary, said in ((REMOTE, True), (SUMMARY, False)):
        app = Host(summary, Settings(device="cpu"))
        app.layers.set_ready(READY)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            assert "about 4 min" in app.plan()
            assert ("computing" in app.plan()) is said


async def test_a_hub_model_with_every_score_is_not_downloaded() -> None:
    scored = {info.name: info.layers for info in REMOTE.types}
    app = Host(replace(REMOTE, scored=scored))
    async with app.run_test(size=(80, 24)) as pilot:
        button = app.layers.query_one("#start", Button)
        assert "downloads and reads nothing" in app.notes() and "first" not in app.notes()
        assert f"{button.label}" == "Start scan (s)" and "nothing is read" in app.plan()
        await pilot.press("f")
        assert "The scan downloads 8.00 GB first" in " ".join(app.notes().split())
        assert f"{button.label}" == "Download and scan (s)"


@pytest.mark.parametrize(
    ("origin", "settings", "where"),
    [("hub", Settings(cluster="auto"), "the hub"), ("web", Settings(), "the web")],
)
async def test_what_is_never_downloaded(origin: Origin, settings: Settings, where: str) -> None:
    app = Host(replace(REMOTE, origin=origin), settings)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w", "s")
        await pilot.pause()
        assert app.requests[0].settings == settings
        assert f"from {where} and keeps no file" in app.notes()
        assert "ownload" not in app.notes().replace("without downloading", "")


async def test_a_local_model_asks_nothing_about_a_download() -> None:
    app = Host(settings=Settings(stream=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w", "s")
        await pilot.pause()
        assert app.requests[0].settings == Settings(stream=True)
        assert "hub" not in app.notes()


async def test_without_earlier_scores_there_is_nothing_to_start_afresh() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", "s")
        await pilot.pause()
        assert not app.requests[0].fresh
        assert "already scored" not in app.notes()


async def test_norms_are_explained_only_where_there_are_some() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Norms start unchecked" in app.notes()
    app = Host(dataclasses.replace(SUMMARY, types=TYPES[:2]))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Norms" not in app.notes()


async def test_a_finished_model_has_nothing_left_to_compute() -> None:
    every = {info.name: info.layers for info in TYPES}
    app = Host(replace(SUMMARY, scored=every))
    async with app.run_test(size=(80, 24)) as pilot:
        app.layers.set_ready(READY)
        await pilot.pause()
        assert "every score is there, nothing is read" in app.plan()
        assert "to read" not in app.plan()
        await pilot.press("f")
        assert "to read" in app.plan()
