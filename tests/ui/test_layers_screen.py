"""The layers screen: what it says before a scan, and what it asks for."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from textual.app import App
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Button, Static
from textual.widgets._footer import FooterKey

from spectrum_tui.app.messages import ScanRequested
from spectrum_tui.app.screens.layers import LayersScreen
from spectrum_tui.app.screens.unscored import UnscoredLines, UnscoredScreen
from spectrum_tui.app.widgets.layer_tree import LayerTree, TreeLines
from spectrum_tui.app.widgets.plan_panel import NOTHING_CHECKED, CheckedTypes, estimate
from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.requests import ModelSummary, Ready
from spectrum_tui.core.settings import Settings

TYPES = (
    TypeInfo(
        name="self_attn.q_proj", group=Group.ATTENTION, layers=32, parameters=500_000_000, cost=30.0
    ),
    TypeInfo(name="mlp.down_proj", group=Group.MLP, layers=32, parameters=1_500_000_000, cost=90.0),
    TypeInfo(
        name="input_layernorm",
        group=Group.NORMS,
        layers=32,
        parameters=100_000,
        cost=0.0,
        one_dimensional=True,
    ),
    TypeInfo(name="a[/b][red]", group=Group.OTHER, layers=1, parameters=100, cost=0.1),
)
SUMMARY = ModelSummary(
    model="made/llama[/b]",
    origin="cache",
    folder="/models/llama",
    revision="8cde5ca",
    architecture="LlamaForCausalLM",
    parameters=4_000_200_000,
    tensors=97,
    shards=2,
    nbytes=8_000_400_000,
    local_bytes=8_000_400_000,
    dtypes={"BF16": 8_000_400_000},
    name="made/llama[/b]",
    types=TYPES,
    naming="transformers 5.23.0 LlamaForCausalLM",
    model_class="LlamaForCausalLM",
)
PREVIEW = replace(SUMMARY, naming="", model_class="")
SKIPPED = (("rotary.inv_freq", "a buffer, not a parameter"), ("x[/b]", "1-D bias [red]"))
READY = Ready(("cuda:0", "cpu"), {"cuda:0": 0.5, "cpu": 2.0})


class Host(App[None]):
    def __init__(self, summary: ModelSummary = SUMMARY, settings: Settings | None = None) -> None:
        super().__init__()
        self.layers = LayersScreen(summary, settings or Settings())
        self.requests: list[ScanRequested] = []

    async def on_mount(self) -> None:
        await self.push_screen(self.layers)

    def on_scan_requested(self, event: ScanRequested) -> None:
        self.requests.append(event)

    def plan(self) -> str:
        return self.layers.panel.figures.render().plain

    def notes(self) -> str:
        notes = self.layers.panel.query(Static)
        return "\n".join(str(note.render()) for note in notes if note.display)

    def top(self) -> Screen[object]:
        return self.screen

    def footer(self) -> list[str]:
        return [key.description for key in self.screen.query(FooterKey)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_plan_follows_the_tree(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert "3 of 4" in app.plan()
        assert "2.00 B" in app.plan()
        assert "50.0 %" in app.plan()
        assert "4.00 GB" in app.plan()
        await pilot.press("space")  # attention
        await pilot.pause()
        assert "2 of 4" in app.plan()
        assert "1.50 B" in app.plan()
        assert "3.00 GB" in app.plan()


async def test_the_time_is_known_once_the_machine_is_measured() -> None:
    app = Host(settings=Settings(device="cpu"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        assert "measuring this machine" in app.plan()
        app.layers.set_ready(READY)
        assert "about 4 min" in app.plan()
        assert "on cpu" in app.plan()
        await pilot.press("n")
        await pilot.press("down", "space")
        await pilot.pause()
        assert "about 1 min" in app.plan()


async def test_a_machine_measured_before_the_screen_opens() -> None:
    app = Host(settings=Settings(device="cpu"))
    app.layers.set_ready(READY)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "about 4 min on cpu" in app.plan()


def test_estimate_picks_the_device_that_will_be_used() -> None:
    plan = CheckedTypes.of(SUMMARY, TYPES)
    assert estimate(plan, READY, "auto") == ("about 1 min", "on cuda:0")
    assert estimate(plan, READY, "cuda") == ("about 1 min", "on cuda:0")
    assert estimate(plan, READY, "cpu", at_most=True) == ("at most about 4 min", "on cpu")
    fast = Ready((), {"cpu": 1e-30})
    assert estimate(plan, fast, "cpu", at_most=True) == ("less than 1 s", "on cpu")
    assert estimate(plan, READY, "mps") == ("no estimate for mps", "")
    assert estimate(plan, Ready((), {}), "auto") == ("no estimate for auto", "")
    assert estimate(plan, None, "cpu")[0].startswith("measuring")


def test_a_plan_of_mixed_types_calls_its_bytes_an_estimate() -> None:
    mixed = dataclasses.replace(SUMMARY, dtypes={"BF16": 1, "F32": 2})
    assert not CheckedTypes.of(mixed, TYPES).exact
    nothing = dataclasses.replace(SUMMARY, parameters=0, types=())
    assert CheckedTypes.of(nothing, ()).share == 0


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
async def test_nothing_checked_is_said_and_not_scanned(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.press("n", "s")
        await pilot.pause()
        assert app.requests == []
        assert NOTHING_CHECKED in app.plan()
        await pilot.press("a")
        await pilot.pause()
        assert NOTHING_CHECKED not in app.plan()


async def test_earlier_scores_are_kept_unless_started_afresh() -> None:
    app = Host(replace(SUMMARY, scored={TYPES[0].name: 30, TYPES[1].name: 7}))
    async with app.run_test(size=(80, 24)) as pilot:
        app.layers.set_ready(READY)
        assert "37 layers are already scored and will not be computed again" in app.notes()
        assert "at most about" in app.plan()
        await pilot.press("f")
        assert "will be computed again" in app.notes()
        assert "at most" not in app.plan()
        await pilot.press("s")
        await pilot.pause()
        assert app.requests[0].fresh
        await pilot.press("f", "s")
        await pilot.pause()
        assert not app.requests[1].fresh


async def test_the_earlier_scores_that_are_counted_are_those_of_the_checked_types() -> None:
    app = Host(replace(SUMMARY, scored={TYPES[0].name: 30, TYPES[1].name: 7}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f")
        assert "Starting afresh: 37 layers will be computed again." in app.notes()
        app.layers.panel.show(CheckedTypes.of(app.layers.summary, TYPES[1:]))
        assert "Starting afresh: 7 layers will be computed again." in app.notes()
        await pilot.press("n")
        await pilot.pause()
        assert "No layer of the checked types has a score yet." in app.notes()


@pytest.mark.parametrize(
    ("precision", "device", "exact"),
    [
        ("exact", "cuda", True),
        ("fast", "cpu", False),
        ("auto", "auto", False),
        ("auto", "cpu", True),
        ("auto", "cuda:9", True),
    ],
)
async def test_fast_scores_are_no_scores_for_an_exact_scan(
    precision: str, device: str, exact: bool
) -> None:
    name = TYPES[0].name
    summary = replace(SUMMARY, scored={name: 30}, scored_fast={name: 12})
    app = Host(summary, Settings(precision=precision, device=device))
    async with app.run_test(size=(80, 24)) as pilot:
        app.layers.set_ready(replace(READY, fast=("cuda:0",)))
        await pilot.pause()
        kept = "18 layers are already" if exact else "30 layers are already"
        assert kept in app.notes()
        again = "12 in fast precision will: this scan is exact."
        assert (again in app.notes()) is exact


async def test_without_earlier_scores_there_is_nothing_to_start_afresh() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", "s")
        await pilot.pause()
        assert not app.requests[0].fresh
        assert "already scored" not in app.notes()


async def test_norms_are_explained_only_where_there_are_some() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Norms start unchecked" in app.notes()
    app = Host(dataclasses.replace(SUMMARY, types=TYPES[:2]))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "Norms" not in app.notes()


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
        assert "2 parameters have no score" in app.notes()
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
