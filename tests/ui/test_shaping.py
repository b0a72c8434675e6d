"""A selection that is shaped by hand: pins, bans, types, blocks, undone and done again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from textual import events
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Static

from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.result_views import HEAT, HOW_TO_SHAPE
from spectrum_tui.app.widgets.heat_foot import HeatFoot
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import Hand, Selection
from spectrum_tui.core.settings import Settings
from tests import made
from tests.ui.results_host import Host, settled
from tests.ui.worker_control import until

LAYERS = 8


def policy_of(app: Host) -> Policy:
    return app.results.state.choice.policy


def hands(app: Host) -> dict[str, Hand]:
    """{layer: what was said of it} of the table, without those of which nothing was."""
    table = app.results.views.table
    names = table.scores.layers
    return {names[row]: Hand(int(hand)) for row, hand in enumerate(table.hands) if hand}


@pytest.mark.parametrize("view", ["t", "m"])
async def test_keys_shape_the_layer_under_the_cursor(view: str) -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press(view)
        await settled(pilot)
        name = app.results.state.result.scores.layers[app.results.views.current_rows[0]]
        await pilot.press("space")
        assert policy_of(app).pins == (name,)
        await pilot.press("minus")
        assert (policy_of(app).pins, policy_of(app).bans) == ((), (name,))
        await pilot.press("delete")
        assert policy_of(app).is_plain
        kind = app.results.state.result.scores.type_names[0]
        await pilot.press("greater_than_sign", "greater_than_sign")
        assert policy_of(app).type_percents == ((kind, 75),)
        await pilot.press("less_than_sign", "less_than_sign")
        assert policy_of(app).is_plain
        await pilot.press("right_square_bracket", "right_square_bracket")
        assert policy_of(app).blocks == ((2, None),)
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert policy_of(app).is_plain


async def test_the_views_show_what_was_said_and_the_totals_follow() -> None:
    app = Host(made.with_parameters(made.result(layers=LAYERS, types=3)), percent=50)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("t", "space", "down", "minus", *["right_square_bracket"] * 3)
        names = app.results.state.result.scores.layers
        outside = {n: Hand.OUTSIDE for n in names if int(n.split(".")[2]) < 3}
        assert hands(app) == outside | {names[0]: Hand.PINNED, names[1]: Hand.BANNED}
        state = app.results.state
        totals = state.choice.selection.totals(state.choice.policy)
        assert f"{totals.layers:,} of" in app.results.header.totals.left
        assert "1 pin, 1 ban" in app.results.header.policy_line.left
        assert "banned: never trains" in app.results.views.pane.details(100).plain
        await pilot.press("m")
        await settled(pilot)
        heatmap = app.results.views.heatmap
        assert heatmap is not None
        marks = {mark.glyph for mark in heatmap.grid.marks_in(0)[:LAYERS]}
        assert {"◉", "⊘", "╱"} < marks
        await pilot.press("y")
        await settled(pilot)
        assert f"- {names[0]}.weight" in app.preview_text
        assert f"- {names[1]}.weight" not in app.preview_text


async def _dragged(pilot: Pilot[None], start: tuple[int, int], *to: tuple[int, int]) -> None:
    await pilot.mouse_down(HeatGrid, offset=start)
    for offset in to:
        await pilot.hover(HeatGrid, offset=offset)
    await pilot.mouse_up(HeatGrid, offset=to[-1])
    await pilot.pause()


async def test_a_drag_over_cells_pins_them_in_one_step() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        grid = app.results.views.widget(HEAT).query_one(HeatGrid)
        at, y = grid.geometry, 1 + grid.geometry.tall
        x = [at.span(column)[0] for column in range(LAYERS)]
        await _dragged(pilot, (x[5], y), (x[4], y + 9), (x[2], 0))
        names = [f"model.layers.{i}.mlp.gate_proj" for i in (2, 3, 4, 5)]
        assert policy_of(app).pins == tuple(names)
        assert not policy_of(app).bans
        await pilot.press("u")
        assert policy_of(app).is_plain
        await _dragged(pilot, (x[5], y), (x[5] + 1, y + 1))
        assert policy_of(app).is_plain, "a click that trembles is a click"


async def test_nothing_moves_under_the_mouse_when_the_first_thing_is_shaped() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        grid = app.results.views.widget(HEAT).query_one(HeatGrid)
        line = app.results.header.policy_line
        assert line.render().plain.strip() == HOW_TO_SHAPE
        x, y = grid.region.x + 2, grid.region.y + 1 + grid.geometry.tall
        place, where = (x - grid.region.x, y - grid.region.y, 0, 0, 0), grid.region
        for _ in range(2):
            target, _ = app.screen.get_widget_at(x, y)
            target.post_message(events.MouseScrollUp(target, *place, False, False, False, x, y))
            await settled(pilot)
            assert grid.region == where
        assert [name for name, _ in policy_of(app).type_percents] == ["mlp.gate_proj"]
        assert HOW_TO_SHAPE not in line.render().plain
        app.results.header.say_saved(Path("/a/" * 40 + "recipe.yaml"))
        await settled(pilot)
        assert grid.region == where
        assert "✓ Saved" in line.render().plain and line.render().plain.endswith("recipe.yaml")
        await pilot.press("space")
        assert "Saved" not in line.render().plain


async def test_nothing_is_drawn_of_the_map_before_its_room_is_known() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        heatmap = app.results.views.widget(HEAT)
        grid, foot = heatmap.query_one(HeatGrid), heatmap.query_one(HeatFoot)
        assert grid.render_line(1).text.strip() and foot.render().plain.strip()
        grid.is_placed = False
        assert not grid.render_line(1).text.strip() and not foot.render().plain
        grid.fit(grid.size)
        assert grid.render_line(1).text.strip()


async def test_the_wheel_over_a_type_moves_its_percentage_in_one_step() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        heatmap = app.results.views.widget(HEAT)
        grid = heatmap.query_one(HeatGrid)
        at, y = grid.geometry, 1 + grid.geometry.tall
        for x in (2, at.cells_at - 3, at.cells_at + 2, at.counts_at + 2):
            seen = grid.region.x + x, grid.region.y + y
            place = (grid, x, y, 0, 0, 0, False, False, False, *seen)
            grid.post_message(events.MouseScrollUp(*place))
            grid.post_message(events.MouseScrollUp(*place))
            grid.post_message(events.MouseScrollDown(*place))
        await pilot.pause()
        assert policy_of(app).type_percents == (("mlp.gate_proj", 75),)
        assert ("75*", True) in grid.percents
        await pilot.press("u")
        assert policy_of(app).is_plain


async def test_the_pointer_above_another_cell_leaves_the_keys_to_the_cursor() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        grid = app.results.views.widget(HEAT).query_one(HeatGrid)
        await pilot.hover(HeatGrid, offset=(grid.geometry.span(6)[0], 2))
        await pilot.press("space")
        assert policy_of(app).pins == ("model.layers.0.mlp.down_proj",)


async def test_a_burst_takes_every_key() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(80, 24)) as pilot:
        keys = [
            "t",
            "space",
            "down",
            "space",
            "down",
            "minus",
            "greater_than_sign",
            "u",
            "u",
            "ctrl+r",
        ]
        await pilot.press(*keys)
        names = app.results.state.result.scores.layers
        assert policy_of(app) == Policy(percent=50, pins=(names[0], names[1]), bans=(names[2],))


async def test_undo_and_redo_say_what_they_did() -> None:
    app = Host(made.result(layers=LAYERS, types=3), percent=25)
    async with app.run_test(size=(120, 24)) as pilot:
        line = app.results.header.policy_line
        await pilot.press("u")
        assert line.right == "nothing to be undone"
        await pilot.press("plus", "plus", "plus", "e", "u")
        assert line.right == "undone: embeddings off" and policy_of(app).embeddings
        await pilot.press("u")
        assert line.right == "undone: 25 % to 28 %"
        assert policy_of(app) == Policy(percent=25)
        assert app.results.header.slider.value == 25
        await pilot.press("ctrl+r", "ctrl+r")
        assert policy_of(app) == Policy(percent=28, embeddings=False)
        await pilot.press("ctrl+r")
        assert line.right == "nothing to be done again"
        await pilot.press("underscore")
        assert (line.left, line.right) == ("", HOW_TO_SHAPE), "the line itself stays"


@pytest.mark.parametrize("size", [(100, 24), (120, 40)])
async def test_a_step_moves_nothing_and_draws_only_the_row_that_it_changes(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To lay out the screen, or to draw all of the map, takes several steps' time."""
    app = Host(made.with_parameters(made.result(layers=LAYERS)))
    async with app.run_test(size=size) as pilot:
        await pilot.press("m")
        await settled(pilot)
        drawn, laid_out = set[int](), list[object]()
        render = HeatGrid.render_row_line

        def noted(grid: HeatGrid, row: int, line: int, width: int) -> Strip:
            drawn.add(row)
            return render(grid, row, line, width)

        monkeypatch.setattr(HeatGrid, "render_row_line", noted)
        app.results.screen_layout_refresh_signal.subscribe(app.results, laid_out.append)
        for key in ("space", "u", "minus", "minus", "greater_than_sign", "u", "u", "u", "ctrl+r"):
            await pilot.press(key)
            await settled(pilot)
            assert (drawn <= {0}, laid_out) == (True, []), key
        assert drawn == {0}


async def test_a_family_of_experts_is_pinned_as_a_cell() -> None:
    result = made.result(
        layers=4,
        types=1,
        names={i: f"model.layers.1.mlp.experts.{i}.up_proj" for i in range(4)},
    )
    app = Host(result)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("m", "right")
        await settled(pilot)
        rows = app.results.views.current_rows
        await pilot.press("space")
        assert len(rows) > 1
        assert len(policy_of(app).pins) == len(rows)
        assert np.flatnonzero(app.results.state.choice.mask()).tolist() == sorted(rows)


async def test_a_family_of_types_gets_its_percentage_in_one_step() -> None:
    app = Host(made.result(layers=LAYERS, types=7 + 3 * 4))
    family = "mlp.experts.*.up_proj"
    async with app.run_test(size=(100, 40)) as pilot:
        await settled(pilot)
        grid = app.results.views.widget(HEAT).query_one(HeatGrid)
        grid.cursor = grid.matrix.labels.index(f"{family} ×4")
        await pilot.press("greater_than_sign", "greater_than_sign")
        assert policy_of(app).type_percents == ((family, 75),)
        assert grid.percents[grid.cursor] == ("75*", True)
        await pilot.press("t")
        await settled(pilot)
        table = app.results.views.table
        table.cursor = table.order.tolist().index(_first_of(app, "mlp.experts.2.up_proj"))
        await pilot.press("less_than_sign", "m", "less_than_sign")
        others = tuple((f"mlp.experts.{i}.up_proj", 63) for i in (0, 1, 3))
        assert set(policy_of(app).type_percents) == {*others}, "the second is as all others again"
        await pilot.press("u", "u")
        assert policy_of(app).type_percents == ((family, 75),)
        await pilot.press("u")
        assert policy_of(app).is_plain


def _first_of(app: Host, type_name: str) -> int:
    layers = app.results.state.result.scores.layers
    return next(row for row, name in enumerate(layers) if name.endswith(type_name))


async def test_what_the_settings_say_opens_so() -> None:
    names = made.result(layers=LAYERS).scores.layers
    settings = Settings(top_percent=12.5, pins=(names[3],), blocks=((2, 5),), no_embeddings=True)
    app = Host(made.result(layers=LAYERS), settings=settings)
    async with app.run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        policy = policy_of(app)
        assert policy == Policy(percent=12.5, pins=(names[3],), blocks=((2, 5),), embeddings=False)
        assert app.results.header.slider.value == 12.5
        assert (
            app.results.state.choice.mask() == Selection(app.results.state.result).mask(policy)
        ).all()
        await pilot.press("plus")
        assert policy_of(app).percent == 13


@pytest.mark.parametrize(
    ("settings", "titles"),
    [
        (Settings(pins=("nothing.*",)), ["1 choice without a layer here"]),
        (Settings(rule="global"), ["Only the percentage is taken"]),
        (
            Settings(way="by-hand", bans=("nothing.*",)),
            ["Trained in the usual way", "1 choice without a layer here"],
        ),
    ],
)
async def test_what_these_scores_do_not_allow_is_said(
    settings: Settings, titles: list[str]
) -> None:
    app = Host(made.result(layers=LAYERS), settings=settings)
    async with app.run_test(size=(100, 24)) as pilot:
        await settled(pilot)
        assert [note.title for note in app._notifications] == titles
        assert app.results.state.choice.mask().any()


async def test_leaving_asks_where_work_would_be_lost() -> None:
    app = Host(made.result(layers=LAYERS, types=3))
    async with app.run_test(size=(80, 24)) as pilot:
        app.results.views.table.focus()
        await pilot.press("space", "escape")
        assert [type(screen) for screen in app.screen_stack[-1:]] == [ConfirmScreen]
        await pilot.press("n")
        assert app.screen is app.results and len(policy_of(app).pins) == 1
        await pilot.press("escape", "y")
        await pilot.pause()
        assert app.screen is not app.results


async def test_leaving_asks_nothing_of_a_percentage_or_of_what_is_saved(tmp_path: Path) -> None:
    app = Host(made.with_parameters(made.result(layers=LAYERS, types=3)), output_dir=tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        app.results.views.table.focus()
        await pilot.press("right", "space", "w")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.results)
        assert list(tmp_path.glob("*_shaped.yaml"))
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is not app.results


async def test_the_rule_goes_round_and_global_needs_scores_that_compare() -> None:
    app = Host(made.with_metrics(made.result(layers=LAYERS, types=3)))
    async with app.run_test(size=(100, 24)) as pilot:
        rules = []
        for _ in range(3):
            await pilot.press("R")
            rules.append(policy_of(app).rule)
        assert rules == ["global-rank", "per-type", "global-rank"]
        assert "of all layers by rank" in app.results.header.slider.render_line(0).text
        await pilot.press("R", "v", "R", "R")
        assert app.results.state.ranking.metric.name == "calibrated"
        assert policy_of(app).rule == "global-rank"
        await pilot.press("u")
        assert policy_of(app).rule == "global"
        assert "of all layers by score" in app.results.header.slider.render_line(0).text
        await pilot.press("v")
        assert app.results.state.ranking.metric.name == "calibrated", "no other compares"
        assert "Metric not available" in {note.title for note in app._notifications}


async def test_undo_takes_back_the_metric_in_its_turn() -> None:
    app = Host(made.with_metrics(made.result(layers=LAYERS, types=3)))
    async with app.run_test(size=(120, 24)) as pilot:
        state, line = app.results.state, app.results.header.policy_line
        await pilot.press("space", "v", "v", "R")
        first, second, third = state.result.metrics[:3]
        assert (state.ranking.metric.name, state.choice.policy.rule) == (third, "global-rank")
        await pilot.press("u", "u")
        assert (state.ranking.metric.name, state.choice.policy.rule) == (second, "per-type")
        assert line.right == f"undone: ranked by {third}"
        await pilot.press("u")
        assert state.ranking.metric.name == first
        assert state.choice.selection is state.ranking.selection
        await pilot.press("ctrl+r", "ctrl+r", "ctrl+r")
        assert (state.ranking.metric.name, state.choice.policy.rule) == (third, "global-rank")


async def test_each_step_of_a_type_selects_another_number_of_its_layers() -> None:
    app = Host(made.result(layers=30, types=3), percent=25)
    async with app.run_test(size=(100, 40)) as pilot:
        line = app.results.header.policy_line
        kind = app.results.state.result.scores.type_names[0]
        for key, percent, layers in (
            ("greater_than_sign", 27, 8),
            ("greater_than_sign", 30, 9),
            ("less_than_sign", 27, 8),
            ("less_than_sign", 25, 7),
            ("less_than_sign", 20, 6),
        ):
            await pilot.press(key)
            assert line.right == f"{kind}: {percent} %, {layers} of 30 layers (% types another)"
            own = () if percent == 25 else ((kind, percent),)
            assert policy_of(app).type_percents == own
        await pilot.press(*["less_than_sign"] * 9)
        assert policy_of(app).type_percents == ((kind, 0),)


@pytest.mark.parametrize("pause", [0.0, 0.15])
async def test_the_percentage_of_a_type_and_the_blocks_are_typed(pause: float) -> None:
    app = Host(made.result(layers=30, types=3), percent=25)
    async with app.run_test(size=(80, 24)) as pilot:
        kind = app.results.state.result.scores.type_names[0]

        async def type_(key: str, *value: str) -> None:
            await pilot.press(key)
            await asyncio.sleep(pause)
            await pilot.press(*value, "enter")

        await type_("percent_sign", "4", "0")
        assert policy_of(app).type_percents == ((kind, 40),)
        await type_("b", *"0-3,28-")
        assert policy_of(app).blocks == ((0, 3), (28, None))
        await pilot.press("u", "u")
        assert policy_of(app) == Policy(percent=25)
        await type_("percent_sign", *"101")
        assert "from 0 to 100" in str(app.screen.query_one("#about", Static).content)
        await pilot.press("escape")
        await type_("b", *"30-")
        assert "last block is 29" in str(app.screen.query_one("#about", Static).content)
        await pilot.press("ctrl+a", "ctrl+k", "enter")
        assert policy_of(app) == Policy(percent=25)
