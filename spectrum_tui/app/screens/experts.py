"""Every expert of a fused parameter: the score of the parameter is only their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from spectrum_tui.app.screens.dialog import ListDialog
from spectrum_tui.app.widgets.cells import bar, keep_end, printable
from spectrum_tui.app.widgets.layer_facts import Part, spread_text
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers


class ExpertLines(LineView):
    """One line per matrix: which it is, its value, and a bar against the highest."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {"experts--bar"}
    DEFAULT_CSS = """
    ExpertLines { height: 1fr; & > .experts--bar { color: $primary; } }
    """

    def __init__(self, parts: Sequence[Part], title: str = "SNR") -> None:
        super().__init__(len(parts))
        self._title = title
        self._value_width = max(9, len(title) + 1)
        self.parts = parts
        self._label_width = max((len(label) for label, _ in parts), default=0) + 2
        finite = [score for _, score in parts if math.isfinite(score)]
        self._highest = max(finite, default=0.0)

    def render_header(self, line: int, width: int) -> Strip:
        text = f"{'matrix':<{self._label_width}}{self._title:>{self._value_width}}"
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        label, score = self.parts[row]
        cursor = self.with_cursor(row)
        text = keep_end(label, self._label_width) + f"{numbers.score(score):>{self._value_width}}  "
        share = 1.0 if math.isinf(score) else score / self._highest if self._highest else 0.0
        blocks = bar(share, max(0, width - len(text)))
        return Strip(
            [
                Segment(text, self.line_style(*cursor)),
                Segment(blocks, self.line_style("experts--bar", *cursor)),
            ]
        )


class ExpertsScreen(ListDialog):
    """A list over the results screen; `o` turns from the model's order to highest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "order", "Order", tooltip="The model's order, or highest first"),
        Binding("escape,x,enter", "dismiss", "Close", key_display="esc", tooltip="Close the list"),
    ]

    def __init__(self, layer: str, parts: Sequence[Part], title: str = "SNR") -> None:
        """`title` is what the values are called."""
        super().__init__()
        self._layer = layer
        self._parts = parts
        self._highest_first = False
        self.lines = ExpertLines(parts, title)

    def compose(self) -> ComposeResult:
        yield from self.framed(self.lines, printable(self._layer), spread_text(self._parts))

    def action_order(self) -> None:
        self._highest_first = not self._highest_first
        ordered = sorted(self._parts, key=lambda part: -part[1])
        self.lines.parts = ordered if self._highest_first else self._parts
        self.lines.refresh()
