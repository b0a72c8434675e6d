"""The results screen: one frame a step, true words, and files that equal the preview."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from textual import events
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Footer

from spectrum_tui.app.screens.result_views import HEAT, TABLE, YAML
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.screens.save import SaveScreen
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.app.widgets.score_rows import Sort
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.app.widgets.view_bar import ViewBar
from spectrum_tui.app.widgets.yaml_preview import YamlPreview
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Generation, Result
from tests import made
from tests.ui.results_host import Host, settled

INF = math.inf


# -- the slider --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 50)])
async def test_a_step_is_one_frame_without_a_layout(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The scrollbar's own frame comes once the slider rests: later than any test looks.
    monkeypatch.setattr("spectrum_tui.app.widgets.yaml_preview.SETTLE_SECONDS", 60)
    app = Host(made.result(layers=32, norms=True))
    async with app.run_test(size=size) as pilot:
        layouts: list[object] = []
        app.results.screen_layout_refresh_signal.subscribe(app.results, layouts.append)
        for view in "tmy":
            await pilot.press(view, *["shift+right"] * 4)
            await settled(pilot)
            layouts.clear()
            for key in ("shift+right", "shift+left", "7"):
                await settled(pilot)
                before, app.frames = app.totals, 0
                app.post_message(events.Key(key, key if len(key) == 1 else None))
                for _ in range(20):
                    await pilot.pause()
                    if app.frames:
                        break
                assert app.totals != before
                assert app.frames == 1, (view, key)
            assert layouts == []


async def test_a_step_changes_everything_that_is_shown() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(160, 50)) as pilot:
        await pilot.press("t")
        keys = (("plus", 51), ("shift+left", 41), ("underscore", 40), ("equals_sign", 41))
        for key, percent in keys:
            await pilot.press(key)
            screen = app.results
            assert screen.state.choice.percent == percent
            assert (
                screen.views.table.mask
                == screen.state.choice.selection.mask(Policy(percent=percent))
            ).all()
            assert (
                app.preview_text == screen.state.ranking.recipe.view(Policy(percent=percent)).text()
            )
            assert f"{int(screen.views.table.mask.sum())} of 224 layers" in app.totals


@pytest.mark.parametrize("view", "mty")
async def test_a_key_means_the_same_in_every_view(view: str) -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(view, *["right"] * 3, "down", "left", "up")
        assert app.results.state.choice.percent == 50, "arrows only move"
        await pilot.press("plus", "equals_sign", "underscore", "shift+right", "plus")
        assert app.results.state.choice.percent == 62
        await pilot.press("shift+left", "1", "2", "full_stop", "5")
        assert app.results.state.choice.percent == 12.5
        await pilot.press("backspace", "backspace", "plus", "3")
        assert app.results.state.choice.percent == 3


async def test_starts_at_the_percentage_of_the_settings() -> None:
    app = Host(made.result(), percent=25)
    async with app.run_test(size=(80, 24)):
        assert app.results.state.choice.percent == 25
        assert isinstance(app.screen.focused, HeatGrid)


@pytest.mark.parametrize(
    "result",
    [
        made.result(layers=1),
        made.result(layers=6, types=1, names={i: f"part{i}.proj" for i in range(6)}),
        made.result(layers=0),
    ],
    ids=["one block", "no blocks", "nothing"],
)
async def test_scores_without_depth_open_as_a_table(result: Result) -> None:
    app = Host(result)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert isinstance(app.screen.focused, ScoreTable)
        assert app.results.views.current == TABLE
        await pilot.press("m")
        await settled(pilot)
        assert isinstance(app.screen.focused, HeatGrid)


# -- totals and notes --------------------------------------------------------------------------


async def test_totals_are_true() -> None:
    result = made.result(layers=32, bias=True)
    app = Host(result)
    async with app.run_test(size=(120, 40)):
        scores, mask = result.scores, app.results.state.choice.selection.mask(Policy(percent=50))
        trained = int(scores.numel[mask].sum()) + 2 * 128256 * 4096
        share = 100 * trained / result.total_parameters
        assert app.totals.startswith("112 of 224 layers · ")
        assert f"{trained / 1e9:.2f} B of 8.03 B parameters train ({share:.1f} %)" in app.totals
        assert app.results.header.totals.right == "with embeddings and head (1.05 B)"
        assert str(app.results.header.totals.render()).endswith("head (1.05 B)")


async def test_embeddings_switch_changes_yaml_totals_and_says_what_it_does() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(120, 40)) as pilot:
        on = app.totals
        await pilot.press("y")
        assert "- lm_head.weight\n" in app.preview_text
        await pilot.press("e")
        assert "lm_head" not in app.preview_text
        assert "embed_tokens" not in app.preview_text
        assert app.totals != on
        assert "use_reentrant: false" in app.text("#frozen")
        assert app.results.state.text() == app.preview_text
        await pilot.press("e")
        assert "lm_head" in app.preview_text
        assert app.text("#frozen") == "Embeddings and head train as well: e freezes them"
        assert app.totals == on


@pytest.mark.parametrize(
    ("width", "said"), [(80, "checkpointing needs"), (220, "enable_input_require_grads()")]
)
async def test_freezing_embeddings_moves_nothing_and_is_told_in_a_line(
    width: int, said: str
) -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(width, 40)) as pilot:
        await pilot.pause()
        before = app.results.views.region
        await pilot.press("e")
        await pilot.pause()
        assert app.results.views.region == before
        assert said in app.text("#frozen")
        assert len(app.text("#frozen")) < width


async def test_a_model_without_embeddings_offers_no_switch() -> None:
    app = Host(made.result(embeddings=False))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "Embeddings" not in app.footer().values()
        await pilot.press("e")
        assert not app.results.query_one("#notes").display


async def test_partial_failed_and_hostile_names_are_said() -> None:
    failed = {3: "not finite", 5: "unreadable [red]"}
    app = Host(made.result(planned=300, failed=failed, names={0: "a[/b][red]"}), percent=100)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "84 of 300 layers scanned (stopped)" in app.notes
        assert "2 failed (✗), never selected" in app.notes
        assert "82 of 84 layers" in app.totals
        await pilot.press("y")
        assert "- a[/b][red].weight\n" in app.preview_text


async def test_scores_of_another_tool() -> None:
    imported = made.result(layers=32, sizes=False)
    old = replace(imported.provenance, generation=Generation.BEFORE_2025_04)
    app = Host(replace(imported, provenance=old))
    async with app.run_test(size=(120, 40)):
        assert "112 of 224 layers · sizes unknown: no record of the scan" in app.totals
        assert "imported scores, ∞ where no noise (before April 2025)" in app.notes
        assert "names assumed: model.embed_tokens.weight, lm_head.weight" in app.notes


async def test_ties_at_infinity_are_said_where_they_decide() -> None:
    app = Host(made.result(layers=32, snr=dict.fromkeys(range(12), INF)), percent=25)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "mlp.down_proj: 12 layers tie at ∞; file order decides" in app.text("#ties")
        await pilot.press("5", "0")
        assert "No ties" in app.text("#ties")


async def test_several_types_with_ties() -> None:
    ties = dict.fromkeys((*range(12), *range(32, 44)), INF)
    app = Host(made.result(layers=32, snr=ties, norms=True), percent=25)
    async with app.run_test(size=(80, 24)):
        assert "3 types have ties at the cut, some at ∞" in app.text("#ties")


async def test_no_line_on_ties_where_none_can_be() -> None:
    app = Host(made.result())
    async with app.run_test(size=(80, 24)):
        assert not app.results.query_one("#ties").display


async def test_types_of_which_a_percentage_selects_none_are_said() -> None:
    result = made.result(layers=12, types=2)
    ids = np.where(np.arange(24) > 20, np.arange(24) - 19, result.scores.type_ids)
    names = [*result.scores.type_names, "a", "b", "c"]
    app = Host(replace(result, scores=replace(result.scores, type_ids=ids, type_names=names)))
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.text("#small") == "! 3 types have one layer: none below 100 %"
        await pilot.press("1", "0", "0")
        assert "Every type is large enough" in app.text("#small")


async def test_no_line_on_small_types_where_none_is() -> None:
    app = Host(made.result())
    async with app.run_test(size=(80, 24)):
        assert not app.results.query_one("#small").display


async def test_a_percentage_that_selects_nothing_says_which_would() -> None:
    app = Host(made.result(layers=10), percent=5)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        assert app.totals == "No layer is selected: a type gets its first layer at 10 %"
        await pilot.press("c")
        await pilot.pause()
        assert "The smallest percentage that selects one here is 10 %" in str(
            next(iter(app._notifications)).message
        )
        assert app.clipboard == ""


# -- views -------------------------------------------------------------------------------------


async def test_views_by_key() -> None:
    shown: dict[str, type[Widget]] = {TABLE: ScoreTable, HEAT: Heatmap, YAML: YamlPreview}
    app = Host(made.result())
    async with app.run_test(size=(120, 40)) as pilot:
        for key, name in (("t", TABLE), ("m", HEAT), ("y", YAML), ("t", TABLE)):
            await pilot.press(key)
            await pilot.pause()
            for other, widget in shown.items():
                found = app.results.query(widget)
                assert any(w.region.area > 0 for w in found) == (other == name)


async def test_views_by_click() -> None:
    app = Host(made.result())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.click(ViewBar, offset=(12, 0))
        assert app.results.views.current == TABLE
        await pilot.click(ViewBar, offset=(20, 0))
        assert app.results.views.current == YAML
        await pilot.click(ViewBar, offset=(2, 0))
        assert app.results.views.current == HEAT


async def test_the_yaml_stands_beside_from_160_columns() -> None:
    app = Host(made.result())
    async with app.run_test(size=(160, 50)) as pilot:
        screen = app.results
        assert screen.views.heatmap is not None
        assert screen.views.heatmap.region.right <= app.preview.region.x
        await pilot.press("y")
        assert screen.views.current == HEAT
        await pilot.press("t")
        await pilot.pause()
        assert screen.views.table.region.right <= app.preview.region.x
        await pilot.resize_terminal(100, 30)
        await pilot.press("y", "plus")
        await pilot.pause()
        assert app.preview.region.area > 0
        assert screen.views.table.region.area == 0
        await pilot.resize_terminal(170, 30)
        await pilot.pause()
        assert screen.views.table.region.area > 0
        assert (
            screen.views.table.mask == screen.state.choice.selection.mask(Policy(percent=51))
        ).all()


async def test_nothing_overlaps_or_is_cut_at_80x24() -> None:
    app = Host(made.result(layers=32, planned=300, failed={0: "x"}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t", "e")
        await settled(pilot)
        screen = app.results
        notes = screen.query_one("#notes")
        assert notes.region.bottom <= screen.views.table.region.y
        assert screen.views.table.region.height >= 10
        assert screen.query_one(Footer).region.bottom == 24
        assert len(app.totals) < 78


# -- keys of the table -------------------------------------------------------------------------


async def test_sort_filter_and_jump_lead_to_the_table() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.results.views.table
        await pilot.press("m", "s")
        assert (app.results.views.current, table.sort) == (TABLE, Sort.SCORE)
        await pilot.press("S")
        assert table.reverse
        await pilot.press("y", "n")
        assert app.results.views.current == TABLE
        assert table.mask[table.order[table.cursor]]
        cursor = table.cursor
        await pilot.press("n", "N")
        assert table.cursor == cursor
        await pilot.press("y", "slash", *"w/s5", "backspace")
        assert table.containing == "w/s"
        assert app.results.state.choice.percent == 50, "keys are text for the filter"
        await pilot.press("escape")
        assert len(table.order) == 224
        assert app.screen is app.results
        await pilot.press("escape")
        assert app.screen is not app.results


async def test_escape_ends_a_filter_that_was_kept() -> None:
    app = Host(made.result(layers=32))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"up_proj", "enter")
        assert app.results.views.table.has_focus
        await pilot.press("escape")
        assert app.screen is app.results
        assert len(app.results.views.table.order) == 224


async def test_the_footer_shows_the_keys_that_work() -> None:
    app = Host(made.result())
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        keys = {"+ _": "Percent", "w": "Save", "e": "Embeddings", "f": "Memory"}
        assert app.footer() == {**keys, "space": "Pin", "P": "Prove"}
        await pilot.press("t")
        await settled(pilot)
        assert app.footer() == {**keys, "space": "Pin", "P": "Prove"}
        await pilot.press("slash")
        await settled(pilot)
        assert set(app.footer().values()) == {"Clear filter", "To the rows"}


@pytest.mark.parametrize("owner", [ResultsScreen, SaveScreen])
def test_every_key_is_explained(owner: type[ResultsScreen] | type[SaveScreen]) -> None:
    for binding in owner.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.description
        assert binding.tooltip


async def test_the_cursor_stays_on_its_layer_in_map_and_table() -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        views = app.results.views
        await pilot.press("down", "right", "right", "right")
        row = views.current_row
        await pilot.press("t")
        assert (views.current, views.current_row) == ("Table", row)
        await pilot.press("down", "down")
        row = views.current_row
        await pilot.press("y", "m")
        assert (views.current, views.current_row) == ("Heat map", row)


@pytest.mark.parametrize("keys", [("escape",), ("enter", "escape"), ("enter", "down", "escape")])
async def test_a_filter_gives_back_the_view_that_it_was_opened_from(keys: tuple[str, ...]) -> None:
    app = Host(made.result(layers=12))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        views = app.results.views
        await pilot.press("slash", *"up_proj", *keys)
        await settled(pilot)
        assert views.current == "Heat map"
        assert views.current_row is not None
        assert views.heatmap is not None
        assert views.heatmap.grid.has_focus
        assert "up_proj" in app.results.state.result.scores.layers[views.current_row]
        await pilot.press("t", "slash", "escape")
        await settled(pilot)
        assert views.current == "Table"
