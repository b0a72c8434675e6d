"""Below the heat map: the legend, and in words what the cell under cursor or pointer holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.heat_matrix import Cell, HeatMatrix
from spectrum_tui.app.widgets.heat_ramp import DENSITY, RAMP
from spectrum_tui.app.widgets.layer_facts import Words, first_fitting, layer_lines, whole
from spectrum_tui.app.widgets.marks import BY_HAND, Mark
from spectrum_tui.core import numbers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, IntArray
from spectrum_tui.core.results.selection import HandArray, Selection
from spectrum_tui.core.scoring.metrics import described


class HeatFoot(Widget):
    """A blank line, two lines on one cell, and the legend."""

    ALLOW_SELECT = False
    HEIGHT = 4
    DEFAULT_CSS = """
    HeatFoot { height: 4; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    cell: reactive[tuple[int, int] | None] = reactive(None)

    def __init__(
        self, selection: Selection, grid: HeatGrid, memory: TrainingMemory | None = None
    ) -> None:
        """`memory` is what training takes, where that can be known."""
        super().__init__()
        self.selection, self._memory = selection, memory
        self._policy = Policy()
        self._shown: tuple[Content, Content] | None = None
        self._summed: tuple[tuple[object, ...], str] = ((), "")
        self.grid = grid
        layers = len(selection.rank)
        self._mask: BoolArray = np.zeros(layers, bool)
        self._hands: HandArray = np.zeros(layers, np.uint8)
        self._in_embeddings: BoolArray = np.zeros(layers, bool)
        self.set_reactive(HeatFoot.cell, grid.cell)

    def set_selection(self, selection: Selection) -> None:
        self.selection = selection
        self.refresh()

    @property
    def matrix(self) -> HeatMatrix:
        """The cells as they are drawn: several blocks in each where more do not fit."""
        return self.grid.matrix

    @property
    def title(self) -> str:
        return described(self.selection.result.scores.metric).title

    def set_mask(self, mask: BoolArray, hands: HandArray, policy: Policy) -> None:
        """Repaint only where something else is said of this cell, or explained by the legend."""
        changed = hands is not self._hands and _said(hands) != _said(self._hands)
        self._mask, self._hands, self._policy = mask, hands, policy
        if changed or self._describe() != self._shown:
            self.refresh()

    def set_embeddings(self, in_embeddings: BoolArray) -> None:
        self._in_embeddings = in_embeddings
        self.refresh()

    @property
    def members(self) -> IntArray:
        """Rows of the scores in the cell."""
        return self.matrix.members(*self.cell) if self.cell else np.zeros(0, np.int64)

    def render(self) -> Content:
        if not self.grid.is_placed:
            return Content()
        self._shown = title, facts = self._describe()
        return Content("\n").join([Content(""), title, facts, self._legend()])

    # -- one cell --------------------------------------------------------------------------

    def _describe(self) -> tuple[Content, Content]:
        if self.cell is None:
            return Content("No scores"), Content("")
        layers = self.members
        if not len(layers):
            row, column = self.cell
            name = printable(self.matrix.labels[row])
            return Content(name), Content.styled(f"none in {self._where(column)}", MUTED)
        if len(layers) == 1:
            row, width = int(layers[0]), self.size.width
            return layer_lines(self.selection, self._policy, self._memory, row, width)
        return self._several(layers)

    def _where(self, column: int) -> str:
        blocks = self.matrix.block(column)
        return f"blocks {blocks}" if "-" in blocks else f"block {blocks}"

    def _several(self, layers: IntArray) -> tuple[Content, Content]:
        row, column = self.cell or (0, 0)
        where = f", {self._where(column)}" if column < len(self.matrix.numbers) else ""
        name = (f"{printable(self.matrix.labels[row])}{where}", "bold")
        scores = self.matrix.scores.values[layers]
        finite = scores[np.isfinite(scores)]
        title = first_fitting(self._sums(name, layers), self.size.width)
        parts = []
        if len(finite):
            low, high = (numbers.score(float(end)) for end in (finite.min(), finite.max()))
            parts.append(
                f"mean {self.title} {numbers.score(float(finite.mean()))} ({low} to {high})"
            )
        parts += _counted(int(np.isposinf(scores).sum()), "infinite")
        parts += _counted(int(np.isnan(scores).sum()), "without a score")
        chosen = int(self._mask[layers].sum())
        last = (f"{chosen:,} of {len(layers):,} selected", "bold $text-success" if chosen else "")
        brief = [part.replace("mean ", "") for part in parts]
        return title, first_fitting(([*parts, last], [*brief, last], [last]), self.size.width)

    def _sums(self, name: tuple[str, str], layers: IntArray) -> Iterator[Sequence[Words]]:
        """Yield what several layers are and cost together, longest first."""
        count = numbers.counted(len(layers), "layer")
        scores, cost = self.matrix.scores, self._cost(layers)
        size = numbers.count(float(scores.numel[layers].sum())) if scores.has_shapes else ""
        yield name, count, f"{size} parameters" if size else "", cost
        yield name, count, size, cost
        yield name, size, cost.removesuffix(" to train")
        yield (name,)

    def _cost(self, layers: IntArray) -> str:
        """Return what several layers cost; of 256 experts that is summed once, not at every step of
        the slider."""
        memory = self._memory
        if memory is None or not memory.prepared:
            return ""
        of = (memory.training, self.selection, layers.tobytes())
        if of != self._summed[0]:
            table = memory.table(self.selection)
            nbytes = sum(table.of_layer(row, memory.training) for row in layers.tolist())
            self._summed = of, f"{numbers.size(nbytes)} to train" if nbytes else ""
        return self._summed[1]

    # -- legend ----------------------------------------------------------------------------

    def _legend(self) -> Content:
        """Return the ramp and the signs; the ramp half as long, and without the last signs, where
        they have no room."""
        signs, width = list(self._signs()), self.size.width
        long = Content("   ").join([self._ramp(2), *signs])
        return long if long.cell_length <= width else whole([self._ramp(4), *signs], width, "   ")

    def _ramp(self, step: int) -> Content:
        if self.grid.in_colour:
            drawn = [(" ", f"on rgb{RAMP[level]}") for level in range(0, len(RAMP), step)]
        else:
            drawn = [("".join(glyph * (4 // step) for glyph in DENSITY), "")]
        return Content.assemble(("low ", MUTED), *drawn, (" high", MUTED))

    def _signs(self) -> Iterator[Content]:
        """Yield what the marks stand for, and how the colours are scaled."""
        cells, marks = self.matrix.cells, [Mark.ALL]
        if (self.matrix.counts > 1).any():
            marks.append(Mark.PART)
        if self._in_embeddings.any():
            marks.append(Mark.EMBEDDINGS)
        signs = [(mark.glyph, mark.short) for mark in (*marks, *_said(self._hands))]
        if (cells == Cell.INFINITE).any():
            signs.append(("∞", "infinite"))
        if (cells == Cell.NO_SCORE).any():
            signs.append(("✗", "no score"))
        for sign, meaning in signs:
            yield Content.assemble(sign, (f" {meaning}", MUTED))
        scale = "one scale for all" if self.grid.one_scale else "scale by type"
        yield Content.assemble(("r", "bold $accent"), (f" {scale}", MUTED))


def _said(hands: HandArray) -> list[Mark]:
    """Return the marks of what a person said of any layer."""
    return [mark for hand, mark in BY_HAND.items() if (hands == hand).any()]


def _counted(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}"] if count else []
