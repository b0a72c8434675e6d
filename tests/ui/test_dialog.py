"""The frame of every dialog."""

from __future__ import annotations

import pytest

from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.help import HelpScreen
from tests import made
from tests.ui.results_host import Host, settled


@pytest.mark.parametrize("deep", [1, 2])
async def test_what_lies_below_dialogs_follows_a_resize(deep: int) -> None:
    app = Host(made.result())
    async with app.run_test(size=(100, 30)) as pilot:

        async def opened() -> str:
            for dialog in (HelpScreen("", []), ConfirmScreen("Leave?", "", "Yes", "No"))[:deep]:
                await app.push_screen(dialog)
            await settled(pilot)
            return app.export_screenshot()

        await opened()
        await pilot.resize_terminal(170, 45)  # the YAML beside the table, room around the slider
        await settled(pilot)
        resized = app.export_screenshot()
        for _ in range(deep):
            await app.pop_screen()
        assert resized == await opened()
        assert "Spectrum:&#160;the&#160;top" in resized
