"""What the results screen shows: the choice in words, and as heat map, table or YAML."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from spectrum_tui.app.screens.result_notes import (
    budget_texts,
    caveats,
    embeddings_text,
    totals_text,
)
from spectrum_tui.app.screens.result_state import Ranking, ResultState
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heatmap import Heatmap
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.app.widgets.memory_line import MemoryLine
from spectrum_tui.app.widgets.percent_slider import PercentSlider
from spectrum_tui.app.widgets.score_pane import ScorePane
from spectrum_tui.app.widgets.score_table import ScoreTable
from spectrum_tui.app.widgets.shaping_grid import ShapingGrid
from spectrum_tui.app.widgets.spectrum_line import ROOMY, SpectrumLine
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.app.widgets.view_bar import ViewBar
from spectrum_tui.app.widgets.yaml_preview import YamlPreview
from spectrum_tui.core import numbers
from spectrum_tui.core.policy_values import RULES
from spectrum_tui.core.recipes.choice import FROZEN_EMBEDDINGS
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.saved.kept_spectra import LayerSpectra
from spectrum_tui.core.settings import ALL_METRICS

HEAT, TABLE, YAML = "Heat map", "Table", "YAML"
VIEWS = ((HEAT, "m"), (TABLE, "t"), (YAML, "y"))
TALL = 32
"""Lines from which notes are told at length."""
FROZEN_BRIEFLY = "Embeddings and head stay frozen: checkpointing needs use_reentrant: false"
NOT_FROZEN = "Embeddings and head train as well: e freezes them"
WIDE = 160
"""Columns from which the YAML stands beside the others."""
HOW_TO_SHAPE = "space pins, - bans, < > this type's percentage, [ ] blocks"
"""Where nothing is shaped yet: the line is there all the same, so that the first change moves
nothing under the mouse."""


class ResultHeader(Vertical):
    """The slider; what the choice means, and what should be known of the result."""

    DEFAULT_CSS = """
    ResultHeader {
        height: auto;
        padding: 0 1;
        & > #memory { display: none; }
        & > #ties, & > #small, & > #frozen { height: 1; color: $warning; text-wrap: nowrap; }
        & > #notes { height: auto; }
    }
    """

    def __init__(self, state: ResultState) -> None:
        super().__init__()
        self._state = state
        self.slider = PercentSlider(state.choice.percent, self._slid)
        self.slider.can_focus = False  # arrows move in the views; the screen has keys for it
        self.totals = TotalsLine(id="totals")
        self.memory = MemoryLine(state.memory, id="memory")
        self.policy_line = TotalsLine(id="policy")
        self._step = ""
        self._ties = Static(markup=False, id="ties")
        self._small = Static(markup=False, id="small")
        self._frozen = Static(markup=False, id="frozen")
        self._notes = Static(markup=False, id="notes")
        self._ranking: Ranking | None = None

    def compose(self) -> ComposeResult:
        lines = (self._ties, self._small, self._frozen, self._notes, self.policy_line)
        yield from (self.slider, self.totals, self.memory, *lines)

    def _slid(self, percent: float) -> None:
        if percent != self._state.choice.percent:  # else the slider follows the choice
            self._state.slide(percent)

    def show(self) -> None:
        """Follow the choice; without a layout where only the percentage is another."""
        choice, ties = self._state.choice, self._state.ranking.ties
        self.slider.value = choice.percent
        self.slider.say(*_of_what(choice.policy))
        if self._ranking is not self._state.ranking:
            self._ranking = self._state.ranking
            self._keep_lines()
            self._show_notes()
        self._show_policy()
        left = totals_text(choice, self._state.sizing)
        right = embeddings_text(choice)
        more, starts = self.memory.follow(choice), (left, left.replace(" parameters", ""))
        ways = [start + end for start in starts for end in more]
        self.totals.show(left, right, [*ways, *starts])
        if ties.possible:
            text = self._fitting(ties.text(choice.policy))
            _tell(self._ties, text, "No ties at the cut: scores alone decide")
        if self._small.display:
            text = choice.selection.too_small(choice.policy)
            _tell(self._small, text, "Every type is large enough for this percentage")

        if self._frozen.display:
            frozen = "" if choice.policy.embeddings else self._room_for(FROZEN_EMBEDDINGS)
            _tell(self._frozen, frozen, NOT_FROZEN)

    def _room_for(self, text: str) -> str:
        return text if len(text) + 4 <= self.app.size.width else FROZEN_BRIEFLY

    def say_step(self, how: str, words: str) -> None:
        """Say what was undone or done again, until the next change."""
        self.say(f"{how}: {words}" if words else f"nothing to be {how}")

    def say(self, text: str) -> None:
        """Say something of the last change, until the next one."""
        self._step = printable(text)
        self._show_policy()

    def say_saved(self, path: Path) -> None:
        """Say where the choice is saved, until the next change."""
        said = "✓ Saved "
        room = max(10, self.policy_line.size.width - len(said))
        self._step = said + keep_end(str(path), min(room, cell_len(printable(str(path)))))
        self._show_policy()

    def _show_policy(self) -> None:
        """Show what was chosen besides the percentage of all types, or how that is done. The line
        is always there: nothing moves under the mouse, and to lay the screen out takes four steps'
        time."""
        policy, step, self._step = self._state.choice.policy, self._step, ""
        budgets, shaped = self._within_budget(), (policy.besides, policy.besides_in_short)
        ways = [_sentence(start, printable(end)) for start in budgets for end in shaped]
        saved = self._saved_by_blocks()
        aside = step or saved or ("" if ways[0] else HOW_TO_SHAPE)
        self.policy_line.show(ways[0], aside, ways, right_first=bool(step))

    def _within_budget(self) -> tuple[str, ...]:
        """Return what trains within the budget, and what is left of it, longest first; "" without
        one."""
        choice, memory = self._state.choice, self._state.memory
        budget = choice.policy.budget
        if budget is None or (budget.in_bytes and not memory.prepared):
            return ("",)
        if budget.in_bytes:
            return budget_texts(choice, memory.estimate(choice, memory.training).total)
        return budget_texts(choice, choice.selection.totals(choice.policy).parameters)

    def _saved_by_blocks(self) -> str:
        """Return what the blocks that may not train save of a training step; "" without any."""
        choice, memory = self._state.choice, self._state.memory
        if not (choice.policy.blocks and memory.prepared):
            return ""
        plain = memory.estimate(choice, replace(memory.training, checkpointing=False))
        if plain.blocks_back == plain.blocks and choice.selection.heads(choice.policy):
            return "embeddings train below all blocks: e freezes them"
        where = "without checkpointing, " if memory.training.checkpointing else ""
        return f"{where}{plain.reach} reached, a step costs {numbers.percent(plain.step)}"

    def _keep_lines(self) -> None:
        """Keep a line for what only some choices bring, where any does."""
        selection = self._state.choice.selection
        self._ties.display = self._state.ranking.ties.possible
        least = Policy(percent=math.ceil(selection.smallest_percent(Policy())))
        self._small.display = bool(selection.too_small(least))
        self._frozen.display = bool(self._state.result.embeddings)

    def _fitting(self, text: str) -> str:
        """Return the text, without what comes after its semicolon where there is no room for it."""
        return text if len(text) + 4 <= self.app.size.width else text.partition(";")[0]

    def _show_notes(self) -> None:
        found = caveats(self._state.result)
        self._notes.update(Content.styled(f"! {' · '.join(found)}", "$warning"))
        self._notes.display = bool(found)


def _of_what(policy: Policy) -> tuple[str, str]:
    """Return of what the slider's percentage is, and what is chosen by in its place."""
    budget = f"Budget {policy.budget.text}" if policy.budget else ""
    return RULES[policy.rule].short, budget


def _sentence(*parts: str) -> str:
    text = "; ".join(filter(None, parts))
    return f"{text[:1].upper()}{text[1:]}"


def _tell(line: Static, text: str, otherwise: str) -> None:
    content = Content(f"! {text}") if text else Content.styled(otherwise, MUTED)
    line.update(content, layout=False)


class ResultViews(Vertical):
    """The bar of views, and the one that is chosen; the YAML beside it on a wide screen."""

    DEFAULT_CSS = """
    ResultViews {
        height: 1fr;
        & > Horizontal { height: 1fr; padding: 0 1; }
        & ScorePane, & Heatmap, & YamlPreview { display: none; width: 1fr; height: 1fr; }
        &.-table ScorePane, &.-heat Heatmap, &.-yaml YamlPreview { display: block; }
    }
    """

    def __init__(self, state: ResultState) -> None:
        super().__init__()
        self._state = state
        self.current, self._wide, self._roomy = TABLE, False, False
        self.spectrum = SpectrumLine(LayerSpectra(state.result))
        self.heatmap: Heatmap | None = None  # made when it is looked at: 0.3 s at 60,000 layers
        if state.choice.selection.has_depth:
            self.current, self.heatmap = HEAT, self._made_heatmap()
        self._looked_at = self.current
        self._embeddings: BoolArray = np.zeros(0, np.bool_)
        self.bar = ViewBar(VIEWS)
        self.pane = ScorePane(state.choice.selection, state.memory)
        self.preview: YamlPreview | None = None  # as the map: 0.15 s at 60,000 layers
        self._body = Horizontal()

    def _made_heatmap(self) -> Heatmap:
        choice = self._state.choice
        heatmap = Heatmap(choice.selection, self._state.memory, self.spectrum.spectra)
        heatmap.set_embeddings(choice.selection.head_rows(choice.policy))
        return heatmap

    def _longest_line(self) -> int:
        """Cells of the longest line that any percentage brings: a name, or an opening comment,
        which names the metric."""
        state = self._state
        opening = state.ranking.recipe.view(replace(state.choice.policy, percent=100))
        room = max(len(name) for name in ALL_METRICS) if state.has_metrics else 0
        lines = [len(opening.line(number)) + room for number in range(min(4, len(opening)))]
        names = [2 + len(name) for row in state.result.scores.parameters for name in row]
        return max(lines + names)

    def compose(self) -> ComposeResult:
        yield self.bar
        with self._body:
            yield self.pane
            if self.heatmap is not None:
                yield self.heatmap
            if self.app.size.width >= WIDE:  # in its place from the first frame on
                yield self._made_preview()
        yield self.spectrum

    def _made_preview(self) -> YamlPreview:
        self.preview = YamlPreview(self._state.yaml(), self._longest_line())
        return self.preview

    def _show_preview(self) -> None:
        if self.preview is None:
            self._body.mount(self._made_preview())
        else:
            self.preview.show(self._state.yaml())

    @property
    def table(self) -> ScoreTable:
        return self.pane.table

    @property
    def current_rows(self) -> list[int]:
        """The rows of the scores under the cursor of the view: several in a cell of several."""
        if self.current == HEAT and self.heatmap is not None:
            return self.heatmap.grid.cursor_rows
        return [] if self.table.current is None else [self.table.current]

    @property
    def current_types(self) -> list[int]:
        """The types under the cursor of the view: several in a row of several."""
        if self.current == HEAT and self.heatmap is not None:
            return self.heatmap.grid.types_of(self.heatmap.grid.cursor)
        return [int(self.table.scores.type_ids[row]) for row in self.current_rows]

    @property
    def current_row(self) -> int | None:
        """Of these the one with the highest score."""
        rows, values = self.current_rows, self._state.result.scores.values
        return max(rows, key=lambda row: np.nan_to_num(values[row], nan=-np.inf), default=None)

    def show(self) -> None:
        """Follow the choice: everything is repainted in one frame, without a layout.

        A hidden view is left as it is until it is shown: a hidden widget that asks for a repaint
        makes the next frame work out the whole screen again.
        """
        selection = self._state.choice.selection
        self._show_embeddings(self._state.choice.policy)
        if self.current == TABLE:
            self.pane.show(selection, self._state.choice.policy)
        if self.current == HEAT and self.heatmap is not None:
            self.heatmap.show(selection, self._state.choice.policy)
        if self.current == YAML or self._wide:
            self._show_preview()
        self.show_order()
        self._look_closer()

    @on(LineView.CursorMoved)
    @on(HeatGrid.Moved)
    def _look_closer(self) -> None:
        """Show the singular values of the layer under the cursor, of several the best."""
        row = self.current_row if self.current != YAML else None
        heatmap = self.heatmap if self.current == HEAT else None
        spectrum = heatmap.spectrum if heatmap is not None else self.spectrum
        spectrum.look_at(row, self._state.ranking.metric.name)

    def _show_embeddings(self, policy: Policy) -> None:
        """Mark the embeddings and heads that train, where these are others now."""
        rows = self._state.choice.selection.head_rows(policy)
        if not np.array_equal(rows, self._embeddings):
            self._embeddings = rows
            self.pane.set_embeddings(rows)
            if self.heatmap is not None:
                self.heatmap.set_embeddings(rows)

    def go_to(self, layer: str) -> None:
        """Put the cursor of the map on a layer, if it has a cell there."""
        layers = self._state.result.scores.layers
        if self.heatmap is not None and layer in layers:
            self.heatmap.grid.go_to(layers.index(layer))

    def fit(self, size: Size) -> None:
        """Offer the YAML as a view where it does not stand beside the others, and singular values
        below the table where there is room and they may have been kept."""
        self._wide = size.width >= WIDE
        self._roomy = size.height >= ROOMY and self.spectrum.spectra.possible
        self.bar.show_names(VIEWS[:2] if self._wide else VIEWS)
        self.switch(self.current)

    def switch(self, name: str) -> None:
        """Bring a view into sight, another than the YAML where that stands beside it anyway."""
        if name == YAML and self._wide:
            name = TABLE if self.current == YAML else self.current
        if name == HEAT and self.heatmap is None:
            self.heatmap = self._made_heatmap()
            self._body.mount(self.heatmap, after=self.pane)
        self._carry_cursor(name)
        self.current = self.bar.current = name
        self.set_class(name == TABLE, "-table")
        self.set_class(name == HEAT, "-heat")
        self.set_class(name == YAML, "-yaml")
        self.spectrum.display = self._roomy and name == TABLE
        self.show()

    def _carry_cursor(self, name: str) -> None:
        """Put the cursor of map or table on the layer that it is on in the other."""
        if name in (self._looked_at, YAML) or self.heatmap is None:
            return
        self._looked_at, rows = name, self.heatmap.grid.cursor_rows
        if self.table.current is None or self.table.current in rows:
            return
        if name == HEAT:
            self.heatmap.grid.go_to(self.table.current)
        elif rows:
            self.table.go_to(rows[0])

    @on(ShapingGrid.Dragged)
    def _pin(self, event: ShapingGrid.Dragged) -> None:
        self._state.pin(event.layers)

    def widget(self, name: str) -> Widget:
        """Return what takes the keys of a view."""
        if name == HEAT and self.heatmap is not None:
            return self.heatmap
        if name == YAML and self.preview is not None:
            return self.preview
        return self.table

    def in_table(self) -> ScoreTable:
        """Return the table, brought into sight."""
        if self.current != TABLE:
            self.switch(TABLE)
        return self.table

    @on(ScoreTable.Reordered)
    def show_order(self) -> None:
        """Say what ranks the layers, and what the table is sorted by."""
        by = f"sorted by {self.table.sorted_by}" if self.current == TABLE else ""
        if not self._state.has_metrics:
            self.bar.show_note(by)
            return
        metric = self._state.ranking.metric
        what = f"{metric.title} (v): {metric.meaning}"
        self.bar.show_note(f"{what} · {by}" if by else what, what, f"{metric.title} (v)")
