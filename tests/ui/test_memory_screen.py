"""What the selection takes to train: on the results screen, and in its dialog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Checkbox, Input, Select, Static

from spectrum_tui.app.app import SpectrumApp
from spectrum_tui.app.base import BaseApp
from spectrum_tui.app.screens.memory import MemoryScreen
from spectrum_tui.app.screens.model_sizes import ModelSizesScreen
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.core import numbers
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.memory.budget import filled
from spectrum_tui.core.memory.estimate import ASSUMPTIONS, MemoryTable
from spectrum_tui.core.memory.fit import fit
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import PRESETS, Training
from spectrum_tui.core.policy_values import card_of
from spectrum_tui.core.recipes.choice import Tiers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from tests import made
from tests.checkpoints import llama, save
from tests.ui.real_core import use_real_core
from tests.ui.worker_control import until

SMALL, LARGE = (80, 24), (120, 40)
LLAMA = made.with_parameters(made.result(layers=32))


class Host(BaseApp):
    """The results screen at 25 %."""

    def __init__(self, result: Result = LLAMA) -> None:
        super().__init__()
        self.results = ResultsScreen(ResultState(result, Settings(top_percent=25)))

    def on_mount(self) -> None:
        self.push_screen(self.results)

    @property
    def dialog(self) -> MemoryScreen:
        assert isinstance(self.screen, MemoryScreen)
        return self.screen

    def table(self) -> MemoryTable:
        result = self.results.state.result
        return MemoryTable(
            self.results.state.choice.selection, ModelSizes(result.parameters, result.embeddings)
        )

    def about(
        self, percent: float, training: Training | None = None, *, embeddings: bool = True
    ) -> str:
        total = (
            self.table()
            .estimate(Policy(percent=percent, embeddings=embeddings), training or Training())
            .total
        )
        return f"bout {numbers.size(total)}"


def sized(app: BaseApp) -> bool:
    screen = app.screen
    return isinstance(screen, ResultsScreen) and screen.state.result.scores.has_shapes


def told(app: BaseApp) -> str:
    """What the notifications say."""
    return " ".join(notification.message for notification in app._notifications)


def shown(app: Host) -> str:
    return app.results.header.totals.render().plain


async def opened(pilot: Pilot[Any]) -> None:
    await pilot.pause()
    await pilot.press("f")
    await pilot.pause()


async def test_the_totals_end_with_it_and_follow_slider_and_embeddings() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert shown(app).endswith(f"(34.8 %) · a{app.about(25)}")
        await pilot.press("plus")
        assert shown(app).endswith(f" · a{app.about(26)}")
        await pilot.press("e")
        assert f" · a{app.about(26, embeddings=False)}" in shown(app)
        assert not app.results.header.memory.region.height


async def test_the_totals_are_shortened_for_it() -> None:
    app = Host(made.with_parameters(made.result(layers=600)))
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert " parameters " not in shown(app)
        assert "1,050 of 4,200 layers · " in shown(app)
        assert f" · a{app.about(25)}" in shown(app)


async def test_a_tall_terminal_has_a_line_with_the_parts() -> None:
    app = Host()
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause()
        line = app.results.header.memory.render().plain
        assert line.startswith(f"A{app.about(25)} to train (bf16 AdamW)")
        assert "█ 16.1 GB weights ▓ 5.59 GB gradients ▒ 11.2 GB optimizer ░" in line
        assert app.results.header.memory.region.height == 2
        assert "about" not in shown(app)


async def test_nothing_selected_takes_nothing() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        await pilot.press("1", "plus", "underscore")
        assert app.results.state.choice.percent == 1
        assert "about" not in shown(app)


def state_of(app: App[Any]) -> str:
    return str(app.screen.query_one("#state", Static).render())


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_scores_without_sizes_have_no_number_and_say_what_to_do(
    size: tuple[int, int],
) -> None:
    app = Host(made.result(sizes=False))
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        dialog: Screen[Any] = app.screen
        assert isinstance(dialog, ModelSizesScreen)
        assert dialog.query_one("#model", Input).value == "made/llama"
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.results
        assert "about" not in shown(app)
        assert not app.results.header.memory.region.height


async def test_the_slider_goes_to_the_highest_that_fits() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        await pilot.press(*"40", "enter")
        await pilot.pause()
        room = 40 * 2**30
        expected = fit(app.table(), room, Policy(), Training()).percent
        assert app.results.state.choice.percent == expected
        assert app.screen is app.results
        assert app.about(expected) in shown(app)
        assert app.table().estimate(Policy(percent=expected), Training()).total <= room
        assert app.table().estimate(Policy(percent=expected + 1), Training()).total > room


async def test_the_card_stays_and_is_marked_on_the_bar() -> None:
    app = Host()
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause()
        memory = app.results.header.memory
        assert "│" not in memory.render().plain
        await opened(pilot)
        await pilot.press(*"40", "escape")
        await pilot.pause()
        before = memory.render().plain.splitlines()[1]
        most = app.table().estimate(Policy(percent=100), Training()).total
        track = before.rindex(" 40 GiB ✓ fits")
        at = before.index("│")
        assert at == pytest.approx(40 * 2**30 / most * track, abs=1.5)
        await pilot.press(*["shift+right"] * 3)
        after = memory.render().plain.splitlines()[1]
        assert after.index("│") == at and after.count("▒") > before.count("▒")
        over = app.table().estimate(Policy(percent=55), Training()).total - 40 * 2**30
        assert f"40 GiB ✗ {numbers.size(over)} too much" in after
        await opened(pilot)
        assert app.dialog.size_field.value == "40"


async def test_what_fits_is_of_what_the_rule_takes_and_a_budget_takes_its_place() -> None:
    app = Host()
    async with app.run_test(size=LARGE) as pilot:
        app.results.state.choose(rule="global-rank")
        await opened(pilot)
        await pilot.press(*"40")
        offered = [str(option.prompt) for option in app.dialog.ways.options]
        assert " % of all layers together by rank in their type: about " in offered[0]
        await pilot.press("tab", "down", "enter")
        await pilot.pause()
        policy = app.results.state.choice.policy
        assert policy.budget and policy.rule == "per-type"
        assert policy.words == "the best layers by rank in their type that fit into 40GiB"


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_budget_is_taken_from_the_list_and_follows_what_is_changed(
    size: tuple[int, int],
) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press(*"40", "tab", "down", "enter")
        await pilot.pause()
        state, card = app.results.state, card_of("40")
        taken = state.choice.policy
        assert taken == filled(
            Policy(percent=25, budget=card, way="bf16"), state.choice.selection, Tiers()
        )
        needs = app.table().estimate(taken, Training()).total
        totals = state.choice.selection.totals(taken)
        trains = f"{totals.layers} layers, {numbers.count(totals.parameters)} parameters"
        left = f"{40 - needs / 2**30:.2f} GiB left"
        assert app.results.header.policy_line.left == f"{trains}, fits 40 GiB with {left}"
        assert app.results.header.slider.render_line(0).text.startswith("Budget 40GiB ")
        await opened(pilot)
        assert app.dialog.ways.highlighted == 1, "the budget is offered first"
        await pilot.press("down", "down", "escape")
        await pilot.pause()
        refilled = state.choice.policy
        assert (refilled.way, refilled.budget) == ("8bit", card)
        assert refilled.layers is not None and taken.layers is not None
        assert refilled.layers > taken.layers
        await pilot.press("u")
        assert (state.choice.policy, state.memory.training) == (taken, Training())
        assert "trained by 8bit" in app.results.header.policy_line.right
        await pilot.press("u")
        assert state.choice.policy == Policy(percent=25) and state.memory.card is None
        await pilot.press("ctrl+r", "underscore")
        assert state.choice.policy == Policy(percent=24), "the slider takes the budget's place"


@pytest.mark.parametrize("width", [60, 80])
async def test_what_trains_within_a_budget_is_said_before_names(width: int) -> None:
    app = Host()
    async with app.run_test(size=(width, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"40", "tab", "down", "enter")
        await pilot.pause()
        await pilot.press("minus", "right", "greater_than_sign", "space")
        line, choice = app.results.header.policy_line, app.results.state.choice
        totals, said = choice.selection.totals(choice.policy), line.render().plain
        assert totals.layers == app.results.state.choice.mask().sum() != choice.policy.layers
        assert line.left.startswith(f"{totals.layers} layers, ")
        whole = f"{totals.layers} layers, fits 40 GiB with 0."
        assert said.startswith(whole if width == 80 else "Fits 40 GiB; ")
        assert said.rstrip().endswith("1 ban") and len(said) <= width - 2
        await pilot.press("u")
        assert "undone: 1 % to" not in said and "undone: " in line.render().plain


async def test_a_budget_that_holds_nothing_any_more_stays_as_it_is() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        await pilot.press("e", "f", *"24", "tab", "down", "enter")
        await pilot.pause()
        before = app.results.state.choice.policy
        assert before.budget is not None and not before.embeddings
        await pilot.press("e")
        assert app.results.state.choice.policy == before
        assert "Not even one layer fits into 24GiB" in told(app)


async def test_frozen_blocks_say_what_they_save() -> None:
    app = Host()
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause()
        line = app.results.header.policy_line
        await pilot.press(*["right_square_bracket"] * 8)
        assert line.right == "embeddings train below all blocks: e freezes them"
        await pilot.press("e")
        plain = app.results.state.memory.estimate(
            app.results.state.choice, Training(checkpointing=False)
        )
        step = numbers.percent(plain.step)
        reached = f"{plain.blocks_back} of 32 blocks reached, a step costs {step}"
        assert plain.blocks_back <= 24
        assert line.right == f"without checkpointing, {reached}"
        await opened(pilot)
        assert f"without it {plain.blocks_back} of 32" in str(app.dialog._depth.render())
        app.dialog.query_one(Checkbox).value = False
        await pilot.pause()
        assert str(app.dialog._depth.render()) == reached
        await pilot.press("escape")
        await pilot.pause()
        assert line.right == reached


async def test_what_does_not_fit_says_what_would_and_moves_nothing() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        await pilot.press(*"24", "enter")
        await pilot.pause()
        said = str(app.dialog.answer.render())
        assert "Not even the top 3.2 % fits into 24 GiB (25.8 GB)" in said
        ways = "\n".join(str(way.prompt) for way in app.dialog.ways.options)
        for way in ("embeddings and head frozen", "LoRA", "QLoRA", "2 GPUs, ZeRO-3"):
            assert way in ways
        await pilot.press("escape")
        assert app.results.state.choice.percent == 25


async def test_all_assumptions_are_in_view_beside_what_would_fit() -> None:
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press(*"24", "enter")
        await pilot.pause()
        assert len(app.dialog.ways.options) > 3
        foot = app.dialog.query_one("#foot")
        assert foot.region.height == 1 + len(ASSUMPTIONS)
        assert foot.region.bottom < app.dialog.query_one("#dialog").region.bottom


@pytest.mark.parametrize("downs", [0, 1])
async def test_what_would_fit_is_chosen_with_enter(downs: int) -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        await pilot.press(*"24", "enter")
        way = fit(app.table(), 24 * 2**30, Policy(), Training()).ways[downs]
        await pilot.press(*["down"] * downs, "enter")
        await pilot.pause()
        assert app.screen is app.results
        assert (app.results.state.choice.percent, app.results.state.choice.policy.embeddings) == (
            way.percent,
            way.embeddings,
        )
        assert app.results.state.memory.training == way.training
        assert app.about(way.percent, way.training, embeddings=way.embeddings) in shown(app)


async def test_an_empty_field_shows_no_value_and_the_cards_fill_it() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        dialog = app.dialog
        assert dialog.size_field.placeholder == ""
        assert "8, 10, 11, 12, 16, 20, 24" in str(dialog.answer.render())
        await pilot.press("enter")
        assert "No memory size is given" in str(dialog.answer.render())
        await pilot.press("pageup", "pageup", "pagedown", "pageup", "pageup")
        assert dialog.size_field.value == "11"
        assert dialog.table.limit == 11 * 2**30


async def test_what_is_no_size_is_refused_in_place() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        for typed in ("x", "0", "1e999", "-4"):
            app.dialog.size_field.value = ""
            await pilot.pause()
            assert "is not a memory size" not in str(app.dialog.answer.render())
            await pilot.press(*typed, "enter")
            await pilot.pause()
            assert "is not a memory size" in str(app.dialog.answer.render()), typed


async def test_arrows_and_clicks_choose_a_preset_that_the_line_keeps() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        await pilot.press("down", "down")
        assert app.results.state.memory.training.preset is PRESETS[2]
        await pilot.press("up")
        assert app.dialog.table.chosen == 1
        await pilot.click(app.dialog.table, offset=(10, 6))
        assert app.results.state.memory.training.preset is PRESETS[5]
        await pilot.press("escape")
        await pilot.pause()
        assert app.about(25, Training(preset=PRESETS[5])) in shown(app)


async def test_gpus_batch_length_sharding_and_checkpointing_change_the_numbers() -> None:
    app = Host()
    async with app.run_test(size=LARGE) as pilot:
        await opened(pilot)
        dialog = app.dialog
        dialog.query_one("#gpus", Input).value = "8"
        dialog.query_one("#batch", Input).value = "2"
        dialog.query_one("#sequence", Input).value = "4,096"
        dialog.query_one(Select).value = "zero2"
        dialog.query_one(Checkbox).value = False
        await pilot.pause()
        training = app.results.state.memory.training
        asked = (training.gpus, training.batch, training.sequence, training.sharding.name)
        assert asked == (8, 2, 4096, "zero2")
        assert not training.checkpointing
        await pilot.press("escape")
        await pilot.pause()
        line = app.results.header.memory.render().plain
        assert line.startswith(f"A{app.about(25, training)} on each of 8 GPUs (bf16 AdamW, ZeRO-2)")


async def test_a_number_that_cannot_be_used_is_refused_and_the_last_one_stays() -> None:
    app = Host()
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot)
        app.dialog.query_one("#gpus", Input).value = "no"
        await pilot.pause()
        assert "number of GPUs 'no' is not usable" in str(app.dialog.answer.render())
        assert app.results.state.memory.training.gpus == 1


async def test_the_metric_has_a_table_of_its_own() -> None:
    result = made.with_metrics(LLAMA)
    app = Host(result)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        before = app.results.state.memory.table(app.results.state.choice.selection)
        await pilot.press("v")
        assert app.results.state.memory.table(app.results.state.choice.selection) is not before


class TestImportedScores:
    """The sizes come from the worker, after the scores are shown."""

    @pytest.fixture
    def scores(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        use_real_core(monkeypatch)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        names = [n.removesuffix(".weight") for n in llama(4) if n.endswith("proj.weight")]
        rows = {n: {"snr": 0.5 + i, "type": layer_type(n)} for i, n in enumerate(names)}
        path = tmp_path / "snr_results_org-tiny.json"
        path.write_text(json.dumps(rows))
        return path

    def app(self, scores: Path, model: str) -> SpectrumApp:
        return SpectrumApp(Settings(sizes_from=model, top_percent=75), results=scores)

    async def test_sizes_arrive(self, scores: Path, tmp_path: Path) -> None:
        app = self.app(scores, str(save(tmp_path / "tiny", llama(4))))
        async with app.run_test(size=LARGE) as pilot:
            await until(pilot, lambda: sized(app))
            screen = app.screen
            assert isinstance(screen, ResultsScreen)
            assert screen.state.choice.percent == 75
            assert "sizes of tiny" in str(screen.header._notes.render())
            assert not screen.state.result.embeddings_are_guessed
            assert screen.state.memory.possible

    async def test_a_model_that_is_named_later_opens_the_memory(
        self, scores: Path, tmp_path: Path
    ) -> None:
        save(tmp_path / "wrong", llama(2))
        right = save(tmp_path / "right", llama(4))
        app = self.app(scores, "")
        async with app.run_test(size=SMALL) as pilot:
            await until(pilot, lambda: isinstance(app.screen, ResultsScreen))
            await pilot.press("f")
            await until(pilot, lambda: isinstance(app.screen, ModelSizesScreen))
            field = app.screen.query_one("#model", Input)
            assert field.value == "org/tiny"
            field.value = str(tmp_path / "wrong")
            await pilot.press("enter")
            await until(pilot, lambda: "another model" in state_of(app))
            field.value = str(right)
            await pilot.press("enter", "3", "x", "enter")
            assert field.value == str(right), "keys wait while it reads"
            for _ in range(400):  # as fast as they come, in which field they may end
                if isinstance(app.screen, MemoryScreen):
                    break
                app.post_message(events.Key("9", "9"))
                await pilot.pause(0.005)
            await until(pilot, lambda: isinstance(app.screen, MemoryScreen))
            results = app.screen_stack[-2]
            assert isinstance(results, ResultsScreen) and results.state.memory.possible
            assert results.state.choice.percent == 75

    async def test_a_model_that_does_not_fit_is_said_and_the_scores_stay(
        self, scores: Path, tmp_path: Path
    ) -> None:
        app = self.app(scores, str(save(tmp_path / "tiny", llama(2))))
        async with app.run_test(size=LARGE) as pilot:
            await until(pilot, lambda: "another model" in told(app))
            assert isinstance(app.screen, ResultsScreen)
            assert not app.screen.state.result.scores.has_shapes

    async def test_they_wait_for_an_open_dialog(self, scores: Path, tmp_path: Path) -> None:
        from spectrum_tui.core.saved.sizes import load_sized
        from spectrum_tui.core.saved.store import load_result

        model = save(tmp_path / "tiny", llama(4))
        app = Host(load_result(scores))
        async with app.run_test(size=SMALL) as pilot:
            await pilot.pause()
            await pilot.press("w")
            await pilot.pause()
            app.results.take_sizes(load_sized(scores, str(model)))
            await pilot.pause()
            assert app.screen is not app.results
            await pilot.press("escape")
            await until(pilot, lambda: sized(app))
