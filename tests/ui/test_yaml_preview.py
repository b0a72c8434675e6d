"""The YAML preview: the file's own lines, and only what differs is repainted."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region

from spectrum_tui.app.widgets.yaml_preview import YamlPreview
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection
from tests import made

HEADER = 1


class Host(App[None]):
    def __init__(self, result: Result, percent: int = 50) -> None:
        super().__init__()
        self.recipe = SpectrumYaml(Selection(result))
        self.preview = YamlPreview(self.recipe.view(Policy(percent=percent)), 60)

    def compose(self) -> ComposeResult:
        yield self.preview

    def lines(self) -> list[str]:
        return [self.preview.render_line(y).text for y in range(self.preview.size.height)]

    def show(self, percent: int) -> None:
        self.preview.show(self.recipe.view(Policy(percent=percent)))


async def test_shows_the_lines_of_the_file() -> None:
    app = Host(made.result(layers=4))
    async with app.run_test(size=(120, 60)):
        header, *lines = app.lines()
        text = app.recipe.text(Policy(percent=50)).splitlines()
        assert header.strip() == f"YAML, {len(text)} lines"
        assert [line[1:].rstrip() for line in lines][: len(text)] == text
        assert "".join(lines[len(text) :]).strip() == ""


async def test_comments_key_and_dashes_look_different() -> None:
    app = Host(made.result(layers=4))
    async with app.run_test(size=(80, 60)):
        number = app.lines().index(" unfrozen_parameters:".ljust(79))
        rows = (1, number, number + 2)
        comment, key, item = (next(iter(app.preview.render_line(y))).style for y in rows)
        assert len({comment, key, item}) == 3


async def test_names_are_data() -> None:
    app = Host(made.result(layers=2, types=1, names={0: "a[/b][red]", 1: "x\x1b[31m"}), 100)
    async with app.run_test(size=(80, 30)):
        text = "".join(app.lines())
        assert " - a[/b][red].weight " in text
        assert "\x1b" not in text


async def test_a_step_repaints_only_the_lines_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host(made.result(layers=100, types=2))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        before = app.lines()
        asked: list[Region] = []
        monkeypatch.setattr(app.preview, "refresh", lambda *regions: asked.extend(regions))
        app.show(51)
        after = app.lines()
        differ = [y for y in range(24) if before[y] != after[y]]
        assert sorted(region.y for region in asked) == differ
        assert 0 in differ, "the header counts the lines"
        assert len(differ) == 4, "that, the percentage in words, the policy, and one layer"


async def test_the_scrollbar_follows_once_the_slider_rests() -> None:
    app = Host(made.result(layers=100, types=2))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        long = app.preview.virtual_size.height
        app.show(60)
        app.show(90)
        assert app.preview.line_count == len(app.recipe.view(Policy(percent=90)))
        assert app.preview.virtual_size.height == long
        await pilot.pause(0.2)
        assert app.preview.virtual_size.height == app.preview.line_count + HEADER


async def test_a_shorter_file_never_leaves_the_view_empty() -> None:
    app = Host(made.result(layers=100, types=2), 100)
    async with app.run_test(size=(80, 24)) as pilot:
        app.preview.focus()
        await pilot.press("G")
        assert app.lines()[-1].strip() != ""
        app.show(10)
        await pilot.pause()
        last = app.recipe.text(Policy(percent=10)).splitlines()[-1]
        assert app.lines()[-1].strip() == last


async def test_keys_scroll() -> None:
    app = Host(made.result(layers=100, types=2), 100)
    async with app.run_test(size=(40, 24)) as pilot:
        app.preview.focus()
        await pilot.press("down", "j", "up", "pagedown")
        assert app.preview.scroll_offset.y == 23
        await pilot.press("g")
        assert app.preview.scroll_offset.y == 0
        await pilot.press("l", "l")
        assert app.preview.scroll_offset.x == 16
        await pilot.press("h", "h", "h")
        assert app.preview.scroll_offset.x == 0
