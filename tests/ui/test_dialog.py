"""The frame of every dialog."""

from __future__ import annotations

import pytest
from textual.screen import Screen

from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.help import HelpScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.widgets.kind_list import KindList
from spectrum_tui.app.widgets.line_view import TextScroll
from spectrum_tui.app.widgets.tick_box import TickBox
from spectrum_tui.core.recipes.kinds import kinds_for
from spectrum_tui.core.settings import Settings
from tests import made
from tests.snapshots.shown import Shown
from tests.ui.results_host import Host, settled


def state() -> ResultState:
    return ResultState(made.result(), Settings())


async def test_help_opens_over_a_dialog_and_reaches_its_end() -> None:
    async with Shown(ResultsScreen(state())).run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await pilot.pause()
        assert isinstance(pilot.app.screen, SaveScreen)
        pilot.app.screen.query_one("#folder").focus()
        await pilot.press("f1")
        assert isinstance(pilot.app.screen, HelpScreen)
        await pilot.press("f1", "escape", "f1", "end")
        await pilot.pause()
        scroll = pilot.app.screen.query_one(TextScroll)
        assert scroll.scroll_offset.y == scroll.max_scroll_y > 0
        await pilot.press("home")
        assert scroll.scroll_offset.y == 0


async def test_help_is_one_page_where_there_is_room() -> None:
    async with Shown(ResultsScreen(state())).run_test(size=(200, 50)) as pilot:
        await pilot.press("f1")
        await pilot.pause()
        assert pilot.app.screen.query_one(TextScroll).max_scroll_y == 0


async def test_a_dialog_is_of_its_size_from_the_first_frame_on_and_takes_notes_away() -> None:
    async with Shown(ResultsScreen(state())).run_test(size=(120, 40)) as pilot:
        app = pilot.app
        app.notify("done")
        app.notify("mind", severity="warning")
        screen = SaveScreen(state().choice, ".")
        mounted = app.push_screen(screen)
        assert screen.has_class("-tall") and not screen.has_class("-short")
        await mounted
        await pilot.pause()
        assert [one.message for one in app._notifications] == ["mind"]


async def test_every_kind_comes_in_sight_at_24_lines() -> None:
    async with Shown(ResultsScreen(state())).run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await pilot.pause()
        kinds = pilot.app.screen.query_one(KindList)
        offered = kinds_for(state().result)
        assert kinds.size.height == 10 and kinds.option_count == len(offered) > 10
        for _ in offered:
            await pilot.press("down")
        await pilot.pause()
        assert kinds.scroll_offset.y == len(offered) - kinds.size.height
        save = pilot.app.screen.query_one("#save")
        assert save.region.bottom < 24


@pytest.mark.parametrize("on", [True, False])
async def test_a_box_says_without_colour_whether_it_is_ticked(on: bool) -> None:
    box = TickBox("Scores", on)
    async with Shown(Screen()).run_test() as pilot:
        await pilot.app.screen.mount(box)
        assert box.render().plain.split()[0] == ("[x]" if on else "[")


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
