"""The setup screen of a model on the hub: its download, and what may happen meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Button

from spectrum_tui.app import messages as ask
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.core.requests import DownloadProgress, ModelSummary
from tests.fake_worker import REMOTE, summary
from tests.ui.setup_host import SIZE, Host, host, type_in
from tests.ui.worker_control import until


async def remote(pilot: Pilot[Any], app: Host, free: int | None = None) -> ModelSummary:
    told = replace(summary(REMOTE, local=False), free=free)
    await type_in(pilot, app, "model", REMOTE)
    await pilot.press("enter")
    app.setup.show_summary(told)
    await pilot.pause()
    return told


async def test_the_layers_of_a_hub_model_come_before_its_download() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app)
        assert app.focused is app.setup.query_one("#continue", Button)
        assert app.setup.query_one("#download", Button).display
        for way in ("enter", "ctrl+n", "click"):
            app.asked.clear()
            await (pilot.click("#continue") if way == "click" else pilot.press(way))
            await pilot.pause()
            (asked,) = app.asked
            assert isinstance(asked, ask.LayersRequested) and asked.summary == told


async def test_a_hub_model_is_scanned_without_a_download() -> None:
    app = host(download=True)
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app)
        for way in ("w", "click"):
            app.asked.clear()
            await (pilot.click("#stream") if way == "click" else pilot.press(way))
            await pilot.pause()
            (asked,) = app.asked
            assert isinstance(asked, ask.LayersRequested) and asked.summary == told
            assert asked.settings.stream and not asked.settings.download
        app.setup.show_summary(summary(REMOTE))
        await pilot.pause()
        assert not app.setup.query_one("#stream", Button).display
        app.asked.clear()
        await pilot.press("w")
        assert app.asked == []


async def test_what_does_not_fit_on_the_disk_is_scanned_without_a_download() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app, free=1_999)
        assert app.facts()["On this disk"] == (
            "nothing yet; 2.00 kB do not fit into 2.00 kB that are free"
        )
        assert not app.setup.query_one("#continue", Button).display
        assert app.focused is app.setup.query_one("#stream", Button)
        app.asked.clear()
        await pilot.press("enter")
        (asked,) = app.asked
        assert isinstance(asked, ask.LayersRequested) and asked.settings.stream
        app.setup.show_summary(replace(told, free=2_000))
        await pilot.pause()
        assert app.facts()["On this disk"] == "nothing yet"
        assert app.setup.query_one("#continue", Button).display


async def goes_on_without_a_download(pilot: Pilot[None], app: Host, told: ModelSummary) -> None:
    """Its keys ask for nothing; enter goes on to the layers."""
    app.asked.clear()
    await pilot.press("d", "w")
    assert app.asked == []
    await pilot.press("enter")
    (asked,) = app.asked
    assert isinstance(asked, ask.LayersRequested) and asked.summary == told


async def test_a_folder_on_the_web_is_not_downloaded() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = replace(await remote(pilot, app), origin="web")
        app.setup.show_summary(told)
        await pilot.pause()
        assert app.facts()["On this disk"] == "nothing: a scan reads it where it is"
        assert not app.setup.query_one("#download", Button).display
        await goes_on_without_a_download(pilot, app, told)


async def test_a_cluster_reads_the_hub_itself() -> None:
    app = host(cluster="auto")
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app, free=0)
        assert app.focused is app.setup.query_one("#continue", Button)
        assert not app.setup.query_one("#download", Button).display
        await goes_on_without_a_download(pilot, app, told)


async def test_exact_names_that_come_during_a_download_do_not_end_it() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app)
        await pilot.press("d")
        app.setup.show_summary(replace(told, parameters=4321, naming="transformers 5 X"))
        await pilot.pause()
        assert app.found.state == "downloading"
        assert app.focused is app.setup.query_one("#cancel", Button)
        assert ("Names", "as in transformers 5 X") in app.found.facts
        assert dict(app.found.facts)["Parameters"].startswith("4.32 K")


async def test_a_hub_that_asks_to_wait_is_said_to() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        app.setup.show_notice("too early")
        await type_in(pilot, app, "model", REMOTE)
        await pilot.press("enter")
        app.setup.show_notice("The hub refuses further requests for 55 s; waiting.")
        await pilot.pause()
        field = app.setup.query_one("#field-model", Field)
        assert field.help_text == "The hub refuses further requests for 55 s; waiting."
        app.setup.show_summary(summary(REMOTE, local=False))
        app.setup.show_notice("too late")
        await pilot.pause()
        assert "hub takes" not in field.help_text and "too late" not in field.help_text


async def test_download_with_progress() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app)
        for way in ("d", "click"):
            app.asked.clear()
            await (pilot.click("#download") if way == "click" else pilot.press(way))
            assert app.asked == [ask.DownloadRequested(REMOTE, told.revision)]
            if way == "d":
                await pilot.press("escape")
        app.download = DownloadProgress(
            request=1, done=1_200_000_000, total=11_300_000_000, speed=31e6
        )
        await until(pilot, lambda: "1.20 GB of 11.3 GB" in app.found.status)
        assert app.found.status.endswith("31.0 MB/s · about 5 min 26 s left")
        app.download = DownloadProgress(
            request=1, done=1_200_000_000, total=11_300_000_000, speed=31e6, waits=True
        )
        await until(
            pilot, lambda: app.found.status == "1.20 GB of 11.3 GB · waiting for the network"
        )
        app.setup.show_summary(summary(REMOTE))
        await pilot.pause()
        assert app.found.state == "found"
        assert app.focused is app.setup.query_one("#continue", Button)


async def test_download_cancelled() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await remote(pilot, app)
        for way in ("escape", "enter", "click"):
            await pilot.press("d")
            assert isinstance(app.asked[-1], ask.DownloadRequested)
            app.asked.clear()
            await (pilot.click("#cancel") if way == "click" else pilot.press(way))
            assert isinstance(app.asked[-1], ask.DownloadCancelled)
            assert app.found.state == "found"
            assert app.focused is app.setup.query_one("#download", Button)


async def test_another_model_cancels_the_download() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        await remote(pilot, app)
        await pilot.press("d")
        await type_in(pilot, app, "model", "other")
        assert isinstance(app.asked[-1], ask.DownloadCancelled)


async def test_a_failed_download_can_be_tried_again() -> None:
    app = host()
    async with app.run_test(size=SIZE) as pilot:
        told = await remote(pilot, app)
        await pilot.press("d")
        app.setup.show_error("output_dir", "The disk is full.")
        await pilot.pause()
        assert app.found.state == "found" and app.setup.summary == told
        app.setup.query_one("#download", Button).focus()
        await pilot.press("enter")
        assert isinstance(app.asked[-1], ask.DownloadRequested)
