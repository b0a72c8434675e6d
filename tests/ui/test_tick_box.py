"""A box to tick says what it is for and whether it is on, with and without the keys."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from spectrum_tui.app.widgets.tick_box import TickBox


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield TickBox("Single experts")


@pytest.mark.parametrize("focused", [False, True])
async def test_a_line_shows_mark_and_label(focused: bool) -> None:
    app = Host()
    async with app.run_test() as pilot:
        box = app.query_one(TickBox)
        app.screen.set_focus(box if focused else None)
        for mark in ("[ ]", "[x]"):
            await pilot.pause()
            assert box.has_focus is focused and box.size.height == 1
            assert box.render_line(0).text.strip() == f"{mark} Single experts"
            box.toggle()
