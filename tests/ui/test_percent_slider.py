"""The slider under keys, typed digits, mouse and wheel."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from spectrum_tui.app.widgets.percent_slider import PercentSlider

WIDTH = 123
TEXT = 23
"""Cells before the track, which is 100 cells wide here: one for each percent."""


class Host(App[None]):
    def __init__(self, value: int = 50) -> None:
        super().__init__()
        self.calls: list[float] = []
        self.slider = PercentSlider(value, self.calls.append)

    def compose(self) -> ComposeResult:
        yield self.slider
        yield Static("below")

    @property
    def line(self) -> str:
        return self.slider.render_line(0).text


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["right"], 51),
        (["l", "l"], 52),
        (["left"], 49),
        (["h"], 49),
        (["shift+right"], 60),
        (["pageup"], 60),
        (["shift+left"], 40),
        (["pagedown"], 40),
        (["home"], 1),
        (["home", "left"], 1),
        (["end"], 100),
        (["end", "right", "pageup"], 100),
        (["4"], 4),
        (["4", "2"], 42),
        (["1", "0", "0"], 100),
        (["4", "2", "5"], 5),
        (["0"], 50),
        (["0", "7"], 7),
        (["4", "2", "backspace"], 4),
        (["4", "right", "2"], 2),
    ],
)
async def test_keys(keys: Sequence[str], value: int) -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        await pilot.press(*keys)
        assert app.slider.value == value
        assert (app.calls or [50])[-1] == value


async def test_says_nothing_until_it_moves() -> None:
    app = Host(33)
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        await pilot.pause()
        assert app.calls == []
        assert app.line.startswith("Top 33 % of each type ")


async def test_the_owner_hears_before_the_key_is_done() -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)):
        app.slider.value = 60
        assert app.calls == [60]


@pytest.mark.parametrize(("given", "kept"), [(0, 1), (-5, 1), (101, 100), (1, 1), (100, 100)])
async def test_stays_within_1_and_100(given: int, kept: int) -> None:
    app = Host(given)
    async with app.run_test(size=(WIDTH, 5)):
        assert app.slider.value == kept


async def test_typed_digits_show_until_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        await pilot.press("4")
        assert "Top 4_ % of each type" in app.line
        monkeypatch.setattr("spectrum_tui.app.widgets.percent_slider.TYPING_SECONDS", 0.01)
        await pilot.press("4")
        await pilot.pause(0.1)
        assert "Top 44 % of each type" in app.line
        await pilot.press("2")
        assert app.slider.value == 2


@pytest.mark.parametrize("percent", [1, 2, 50, 99, 100])
async def test_every_value_can_be_clicked(percent: int) -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        await pilot.click(PercentSlider, offset=(TEXT + percent - 1, 0))
        assert app.slider.value == percent
        assert app.line[TEXT:].index("●") == percent - 1


async def test_drag_goes_on_outside_the_row_and_ends() -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        await pilot.mouse_down(PercentSlider, offset=(TEXT + 10, 0))
        await pilot.hover(Static, offset=(TEXT + 69, 2))
        assert app.slider.value == 70
        await pilot.mouse_up(Static, offset=(TEXT + 69, 2))
        await pilot.hover(PercentSlider, offset=(TEXT + 20, 0))
        assert app.slider.value == 70


async def test_wheel_is_one_percent() -> None:
    app = Host()
    async with app.run_test(size=(WIDTH, 5)) as pilot:
        where = (app.slider, 30, 0, 0, 0, 0, False, False, False)
        app.slider.post_message(events.MouseScrollUp(*where))
        app.slider.post_message(events.MouseScrollUp(*where))
        app.slider.post_message(events.MouseScrollDown(*where))
        await pilot.pause()
        assert app.calls == [51, 52, 51]


async def test_every_key_is_explained() -> None:
    for binding in PercentSlider.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.description
        assert binding.tooltip


async def test_fits_a_narrow_terminal() -> None:
    app = Host(100)
    async with app.run_test(size=(30, 5)):
        assert app.line.endswith("●")
        assert app.slider.render_line(0).cell_length == 30
