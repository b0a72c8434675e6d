"""The layers screen: what it says before a scan, and what it asks for."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Button, Static

from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.unscored import UnscoredLines, UnscoredScreen
from spectrum_tui.app.widgets.layer_tree import LayerTree, TreeLines
from spectrum_tui.core.layer_types import Group, TypeInfo
from tests.ui.layers_host import PREVIEW, SKIPPED, SUMMARY, TYPES, Host


async def test_scan_asks_for_what_is_checked() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("space", "s")
        await pilot.pause()
        assert [r.types for r in app.requests] == [("mlp.down_proj", "a[/b][red]")]
        assert not app.requests[0].fresh


async def test_the_button_scans_too() -> None:
    for size in ((80, 24), (120, 40)):
        app = Host()
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await pilot.click(Button)
            await pilot.pause()
            assert len(app.requests) == 1


async def test_enter_in_the_tree_does_not_scan() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter", "enter")
        await pilot.pause()
        assert app.requests == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_warnings_are_shown_and_the_tree_keeps_its_room(size: tuple[int, int]) -> None:
    notes = ("97% of the parameters have no score (480: a [3-D] block of experts)", "second " * 40)
    app = Host(dataclasses.replace(SUMMARY, notes=notes, scored={"lm_head": 2}, skipped=SKIPPED))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert "! 97% of the parameters have no score (480: a [3-D] block" in app.notes()
        assert app.layers.tree_view.region.height >= 10
        assert app.layers.panel.region.bottom == size[1] - 1


@pytest.mark.parametrize("close", ["escape", "u", "enter"])
async def test_what_has_no_score_is_listed(close: str) -> None:
    app = Host(dataclasses.replace(SUMMARY, skipped=SKIPPED))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "2 tensors have no score" in app.notes()
        await pilot.press("u")
        await pilot.pause()
        assert isinstance(app.screen, UnscoredScreen)
        lines = app.screen.query_one(UnscoredLines)
        text = "\n".join(lines.render_line(y).text for y in range(3))
        assert "rotary.inv_freq" in text
        assert "1-D bias [red]" in text
        await pilot.press("down", close)
        await pilot.pause()
        assert app.top() is app.layers


async def test_a_long_reason_is_shown_whole() -> None:
    reason = "stored as I8 (quantised): scan the full-precision weights in its place"
    app = Host(replace(SUMMARY, skipped=(("model.layers.0.mlp.down_proj.weight", reason),) * 2))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("u")
        await pilot.pause()
        lines = app.screen.query_one(UnscoredLines)
        shown = [lines.render_line(y).text for y in range(1 + lines.line_count)]
        assert lines.line_count > 2
        place = lines._name_width(lines.view_size.width)
        words = " ".join(" ".join(line[place:] for line in shown).split())
        assert words.endswith(f"{reason} {reason}")


async def test_the_list_opens_by_a_click() -> None:
    app = Host(dataclasses.replace(SUMMARY, skipped=SKIPPED))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        note = app.layers.panel.query_one("#unscored", Static)
        at = str(note.render()).index("List")
        await pilot.click(note, offset=(at, 0))
        await pilot.pause()
        assert isinstance(app.screen, UnscoredScreen)


async def test_without_anything_unscored_the_key_does_nothing() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("u")
        assert app.screen is app.layers


async def test_escape_clears_a_filter_first_then_goes_back() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"down", "enter", "escape")
        await pilot.pause()
        assert app.screen is app.layers
        assert not app.layers.tree_view.model.is_filtered
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is not app.layers


async def test_letters_typed_into_the_filter_are_not_keys() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"sanfu")
        await pilot.pause()
        assert app.requests == []
        assert app.screen is app.layers
        assert len(app.layers.tree_view.checked) == 3


async def test_panel_is_beside_the_tree_where_there_is_room() -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        tree, panel = app.layers.tree_view.region, app.layers.panel.region
        assert panel.x == tree.right
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        tree, panel = app.layers.tree_view.region, app.layers.panel.region
        assert panel.y == tree.bottom
        assert tree.height >= 12
        assert panel.bottom == 23, "above the footer, nothing cut"


async def test_at_most_seven_keys_in_the_footer() -> None:
    app = Host(dataclasses.replace(SUMMARY, scored={"lm_head": 3}, skipped=SKIPPED))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.footer() == ["Check", "All", "None", "Filter", "Scan", "Back"]
        await pilot.press("slash", *"proj", "enter")
        await pilot.pause()
        assert app.footer() == ["Check", "All", "None", "Filter", "Show all", "Scan"]


def test_every_key_says_what_it_does() -> None:
    for owner in (LayersScreen, LayerTree, TreeLines, UnscoredScreen):
        for binding in owner.BINDINGS:
            assert isinstance(binding, Binding)
            assert binding.description
            assert binding.tooltip


async def test_a_toggle_does_not_lay_the_screen_out(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        layouts = 0
        lay_out = Screen._refresh_layout

        def refresh_layout(screen: Screen[None], *args: object, **kwargs: object) -> None:
            nonlocal layouts
            layouts += 1
            lay_out(screen, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(Screen, "_refresh_layout", refresh_layout)
        await pilot.press("space", "n", "a", "i", "down", "space", "s")
        await pilot.pause()
        assert layouts == 0, "the figures change, their places do not"
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert layouts, "the counter sees layouts"


async def test_exact_names_are_taken_over_in_place() -> None:
    app = Host(PREVIEW)
    exact: tuple[TypeInfo, ...] = (
        *TYPES[1:],
        TypeInfo(
            name="mlp.experts.down_proj",
            group=Group.EXPERTS,
            layers=48,
            parameters=10**9,
            cost=50.0,
            experts=128,
        ),
        TypeInfo(
            name="vision:mlp.fc1",
            group=Group.MLP,
            layers=24,
            parameters=10**8,
            cost=5.0,
            tower="vision",
        ),
    )
    exact = tuple(replace(t, tower=t.tower or "language") for t in exact)
    async with app.run_test(size=(120, 40)) as pilot:
        tree = app.layers.tree_view
        await pilot.press("end", "space")  # the odd one, unchecked by the user
        assert "a[/b][red]" not in tree.checked
        app.layers.refine(replace(SUMMARY, types=exact, notes=("rounded weights",)))
        await pilot.pause()
        await pilot.pause()
        assert tree.checked == ("mlp.down_proj", "mlp.experts.down_proj")
        lines = [tree.lines.render_row(row, 110).text for row in range(tree.lines.line_count)]
        (experts,) = (line for line in lines if "mlp.experts.down_proj" in line)
        assert "×128" in experts or "128 experts" in experts
        assert lines[0].strip().startswith("▾ [-] language model")
        assert any("vision tower" in line for line in lines)
        assert "rounded weights" in app.notes()


async def test_a_scan_asked_for_early_begins_when_the_names_are_exact() -> None:
    app = Host(PREVIEW)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        await pilot.pause()
        assert app.requests == []
        app.layers.refine(SUMMARY)
        await pilot.pause()
        assert [r.types for r in app.requests] == [
            ("self_attn.q_proj", "mlp.down_proj", "a[/b][red]")
        ]


async def test_a_scan_asked_for_early_waits_where_the_names_are_others() -> None:
    app = Host(PREVIEW)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("s")
        app.layers.refine(replace(SUMMARY, types=TYPES[1:]))
        await pilot.pause()
        assert app.requests == []
        await pilot.press("s")
        await pilot.pause()
        assert len(app.requests) == 1


@pytest.mark.parametrize("back", ["s", "escape"])
async def test_a_scan_that_waits_says_so_until_it_is_taken_back(back: str) -> None:
    app = Host(PREVIEW)
    async with app.run_test(size=(80, 24)) as pilot:

        def said() -> bool:
            return "waits for the exact names" in app.layers.panel.figures.render().plain

        await pilot.pause()
        assert not said()
        await pilot.press("s")
        assert said()
        await pilot.press(back)
        assert not said()
        assert app.screen is app.layers
        app.layers.refine(SUMMARY)
        await pilot.pause()
        assert app.requests == []
