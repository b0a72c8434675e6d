"""The layer tree under keys and mouse, at 50,000 nodes too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from spectrum_tui.app.widgets.check_model import Check
from spectrum_tui.app.widgets.layer_tree import LayerTree, TreeLines
from spectrum_tui.core.layer_types import Group, TypeInfo

HOSTILE = "a[/b][red]"


def info(name: str, group: Group, *, layers: int = 32, norm: bool = False) -> TypeInfo:
    return TypeInfo(
        name=name,
        group=group,
        layers=layers,
        parameters=layers * 1_000_000,
        cost=0.0 if norm else 5.0,
        one_dimensional=norm,
    )


def types() -> list[TypeInfo]:
    return [
        info("self_attn.k_proj", Group.ATTENTION),
        info("self_attn.q_proj", Group.ATTENTION),
        info("mlp.down_proj", Group.MLP),
        *(info(f"mlp.experts.{i}.down_proj", Group.EXPERTS, layers=2) for i in range(160)),
        info("mlp.gate", Group.EXPERTS),
        info("input_layernorm", Group.NORMS, norm=True),
        info(HOSTILE, Group.OTHER, layers=1),
    ]


class Host(App[None]):
    def __init__(self, infos: Sequence[TypeInfo]) -> None:
        super().__init__()
        self.tree_view = LayerTree(infos)
        self.changes = 0

    def compose(self) -> ComposeResult:
        yield self.tree_view

    def on_mount(self) -> None:
        self.tree_view.lines.focus()

    def on_layer_tree_changed(self, event: LayerTree.Changed) -> None:
        assert event.control is self.tree_view
        self.changes += 1

    @property
    def lines(self) -> TreeLines:
        return self.tree_view.lines

    @property
    def label(self) -> str:
        """Of the node under the cursor."""
        model = self.tree_view.model
        return model.labels[int(model.visible[self.lines.cursor])]

    def text(self, row: int) -> str:
        return self.lines.render_line(row + 1 - self.lines.scroll_offset.y).text

    def go_to(self, label: str) -> None:
        model = self.tree_view.model
        self.lines.cursor = model.row_of(model.labels.index(label))


async def test_starts_with_matrices_checked_and_families_folded() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        tree = app.tree_view
        assert "input_layernorm" not in tree.checked
        assert len(tree.checked) == len(types()) - 1
        rows = [app.text(row) for row in range(len(tree.model.visible))]
        assert rows[0].startswith("▾ [x] attention  2 types")
        assert any(row.startswith("  ▸ [x] mlp.experts.*.down_proj ×160") for row in rows)
        assert any(row.startswith("    [ ] input_layernorm") and "–" in row for row in rows)
        assert any(HOSTILE in row for row in rows), "data is not markup"
        assert app.changes == 0, "nothing has been changed yet"


async def test_columns_are_aligned_and_fit() -> None:
    app = Host(types())
    for width in (60, 80, 160):
        async with app.run_test(size=(width, 24)) as pilot:
            await pilot.pause()
            lines = [app.lines.render_line(y) for y in range(len(app.tree_view.model.visible) + 1)]
            assert {strip.cell_length for strip in lines} == {app.lines.view_size.width}
            percent = [strip.text.index(" %") for strip in lines if " %" in strip.text]
            assert len(set(percent)) == 1
        app = Host(types())


async def test_space_toggles_and_says_so() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "space")
        assert "self_attn.k_proj" not in app.tree_view.checked
        assert app.changes == 1
        assert app.text(0).startswith("▾ [-] attention  1 of 2 types")
        assert app.text(1).startswith("    [ ] self_attn.k_proj")
        await pilot.press("up", "space")
        assert app.text(0).startswith("▾ [x]")
        await pilot.press("space")
        assert app.text(0).startswith("▾ [ ]")
        assert app.text(2).startswith("    [ ]")


async def test_all_none_invert() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("i")
        assert list(app.tree_view.checked) == ["input_layernorm"]
        await pilot.press("a")
        assert len(app.tree_view.checked) == len(types())
        await pilot.press("n")
        assert app.tree_view.checked == ()
        assert app.changes == 3


async def test_folding_and_going_to_the_parent() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 40)) as pilot:
        before = app.lines.line_count
        app.go_to("mlp.experts.*.down_proj")
        await pilot.press("right")
        assert app.lines.line_count == before + 160
        await pilot.press("down", "down")
        assert app.label == "mlp.experts.1.down_proj"
        await pilot.press("left")
        assert app.label == "mlp.experts.*.down_proj", "left on a leaf goes to the parent"
        await pilot.press("left")
        assert app.lines.line_count == before
        await pilot.press("left")
        assert app.label == "experts", "left on a folded branch too"
        await pilot.press("enter")
        assert app.lines.line_count == before - 2
        await pilot.press("enter", "l", "h", "right")
        assert app.lines.line_count == before


async def test_enter_does_not_toggle() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter", "enter", "down", "enter")
        assert app.changes == 0


@pytest.mark.parametrize(("keys", "label"), [("j", "self_attn.k_proj"), ("G", HOSTILE)])
async def test_moving(keys: str, label: str) -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(keys)
        assert app.label == label


async def test_filter_narrows_toggles_and_goes_away() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        tree = app.tree_view
        await pilot.press("slash", *"k_proj")
        await pilot.pause()
        assert tree.query_one(Input).has_focus
        assert [tree.model.labels[i] for i in tree.model.visible] == [
            "attention",
            "self_attn.k_proj",
        ]
        assert "1 of" in str(tree.border_subtitle)
        await pilot.press("enter", "n")
        assert app.lines.has_focus
        assert "self_attn.k_proj" not in tree.checked
        assert "self_attn.q_proj" in tree.checked, "none reaches only what is on show"
        await pilot.press("escape")
        await pilot.pause()
        assert app.lines.line_count > 5
        assert not tree.model.is_filtered
        assert not tree.query_one(Input).display
        assert tree.border_subtitle == ""


async def test_filter_without_a_match() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"[/b]xyz", "enter")
        await pilot.pause()
        assert "no type matches" in str(app.tree_view.border_subtitle)
        await pilot.press("space", "enter", "left", "right", "a", "n", "i", "down", "pageup", "end")
        assert len(app.tree_view.checked) == len(types()) - 1
        await pilot.press("escape")
        assert app.lines.line_count > 5


async def test_an_empty_filter_goes_away_on_enter() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", "enter")
        assert app.lines.has_focus
        assert not app.tree_view.query_one(Input).display


async def click(pilot: Pilot[None], app: Host, row: int, x: int) -> None:
    await pilot.click(TreeLines, offset=(x, row + 1))
    await pilot.pause()


async def test_mouse_on_box_arrow_and_line() -> None:
    app = Host(types())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        model = app.tree_view.model
        await click(pilot, app, 1, 5)  # the box of a type
        assert model.state(1) is Check.OFF
        await click(pilot, app, 0, 3)  # the box of the group: a part becomes a whole
        assert model.state(0) is Check.ON
        before = app.lines.line_count
        await click(pilot, app, 0, 0)  # the arrow
        assert app.lines.line_count == before - 2
        await click(pilot, app, 0, 0)
        await click(pilot, app, 2, 20)  # the label
        assert app.label == "self_attn.q_proj"
        assert "self_attn.q_proj" in app.tree_view.checked
        await click(pilot, app, -1, 20)  # the header
        assert app.label == "self_attn.q_proj"
        changes = app.changes
        await click(pilot, app, 18, 3)  # below the last line
        assert app.changes == changes


class Counted:
    """Lines drawn and layouts made while it is entered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.layouts = 0
        draw, lay_out = TreeLines.render_row, Screen._refresh_layout

        def render_row(view: TreeLines, row: int, width: int) -> object:
            self.rows.append(row)
            return draw(view, row, width)

        def refresh_layout(screen: Screen[None], *args: object, **kwargs: object) -> None:
            self.layouts += 1
            lay_out(screen, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(TreeLines, "render_row", render_row)
        monkeypatch.setattr(Screen, "_refresh_layout", refresh_layout)

    def reset(self) -> None:
        self.rows.clear()
        self.layouts = 0


def large() -> list[TypeInfo]:
    return [
        info(f"mlp.experts.{i}.{part}", Group.EXPERTS, layers=1)
        for i in range(12_500)
        for part in ("down_proj", "gate_proj", "up_proj", "w4")
    ]


async def test_50_000_nodes_repaint_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    app = Host(large())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("down", "right", "down", "down")
        await pilot.pause()
        assert app.lines.line_count == 12_505
        assert counted.layouts, "the first layout is seen by the counter"
        counted.reset()
        await pilot.press("space")  # one expert: its line, its family's, its group's
        await pilot.pause()
        assert sorted(set(counted.rows)) == [0, 1, 3]
        assert len(counted.rows) == 3
        counted.reset()
        await pilot.press("down")
        await pilot.pause()
        assert sorted(counted.rows) == [3, 4]
        counted.reset()
        await pilot.press("n")  # all 50,000: what is in view, once
        await pilot.pause()
        assert app.tree_view.checked == ()
        assert len(counted.rows) <= app.lines.page_lines
        counted.reset()
        await pilot.press("end")
        await pilot.pause()
        assert app.lines.cursor == 12_504
        assert len(counted.rows) <= 2 * app.lines.page_lines
        assert counted.layouts == 0, "a layout of the screen costs 80 ms"


async def test_control_characters_and_wide_names_do_not_break_a_line() -> None:
    names = ["esc\x1b[31m.proj", "line\nbreak", "宽" * 60, "e\u0301" * 50]
    app = Host([info(name, Group.OTHER) for name in names])
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        for row in range(5):
            strip = app.lines.render_line(row + 1)
            assert strip.cell_length == app.lines.view_size.width
            assert strip.text.isprintable()


async def test_a_type_of_fused_experts_says_how_many_where_its_name_leaves_room() -> None:
    names = ["experts.w", "experts.up_proj", "language_model.mlp.experts.down_proj"]
    fused = [
        TypeInfo(
            name=name, group=Group.EXPERTS, layers=48, parameters=10**9, cost=50.0, experts=128
        )
        for name in names
    ]
    app = Host(fused)
    async with app.run_test(size=(78, 20)) as pilot:
        await pilot.pause()
        width = app.lines.view_size.width
        rows = [app.lines.render_row(row, width).text for row in range(app.lines.line_count)]
        shown = {name: next((row for row in rows if name in row), "") for name in names}
        assert "experts.w  48 × 128 experts" in shown[names[0]]
        assert "experts.up_proj  128 experts" in shown[names[1]]
        assert any("experts.down_proj  ×128" in row for row in rows)
