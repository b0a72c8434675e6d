"""What every preset takes: a table of its parts, with bars where there is room."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.memory_bar import PARTS, memory_bar
from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate
from spectrum_tui.core.memory.presets import PRESETS

_WIDTHS, _NARROW = (10, 13, 13, 15), (8, 8, 8, 8)
"""Cells of each part, with its glyph and its name, or with a short name alone."""
_BRIEFLY = ("weights", "grads", "optim.", "activ.")
_NAME, _SUM = 11, 10


class PresetTable(Widget):
    """A line for each preset, the chosen one marked; a click chooses. With `bars` there is a
    second line for each, and a mark at the size that is asked for."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    PresetTable { height: 8; width: 1fr; text-wrap: nowrap; }
    PresetTable.-bars { height: 15; }
    """

    chosen = reactive(0)
    bars = reactive(False)
    limit = reactive(0.0)
    """Bytes that are asked for, 0 for none."""

    class Chosen(Message):
        """A preset was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self) -> None:
        super().__init__()
        self._estimates: Sequence[Estimate] = ()

    def show(self, estimates: Sequence[Estimate]) -> None:
        self._estimates = estimates
        self.refresh()

    def watch_bars(self, bars: bool) -> None:
        self.set_class(bars, "-bars")

    def on_click(self, event: events.Click) -> None:
        row = (event.y - 1) // (2 if self.bars else 1)
        if event.y >= 1 and row < len(PRESETS):
            self.post_message(self.Chosen(row))

    def render(self) -> Content:
        largest = max((estimate.total for estimate in self._estimates), default=0.0)
        lines = [self._titles()]
        for row, estimate in enumerate(self._estimates):
            lines.append(self._line(row, estimate))
            if self.bars:
                lines.append(self._bar(estimate, largest))
        return Content("\n").join(lines)

    @property
    def _widths(self) -> tuple[int, ...]:
        """How wide the columns are; a mark of two cells stands on either side."""
        return _WIDTHS if self.size.width >= _NAME + sum(_WIDTHS) + _SUM + 4 else _NARROW

    def _titles(self) -> Content:
        if self._widths is _NARROW:
            names = "".join(f"{name:>{_NARROW[0]}}" for name in (*_BRIEFLY, "sum"))
            return Content.styled(" " * (_NAME + 2) + names, MUTED)
        cells: list[Content | str | tuple[str, str]] = [" " * (_NAME + 2)]
        for (name, glyph, colour), width in zip(PARTS, _WIDTHS, strict=True):
            cells.append(" " * (width - len(name) - 2))
            cells += [(glyph, colour), (f" {name}", MUTED)]
        cells.append((f"{'sum':>{_SUM}}", MUTED))
        return Content.assemble(*cells)

    def _line(self, row: int, estimate: Estimate) -> Content:
        text = f"{PRESETS[row].title:<{_NAME}}"
        for (name, _, _), width in zip(PARTS, self._widths, strict=True):
            text += f"{numbers.size(estimate.parts[name]):>{width}}"
        room = _SUM if self._widths is _WIDTHS else _NARROW[0]
        total = f"{numbers.size(estimate.total):>{room}}"
        fits = self.limit and estimate.total <= self.limit
        mark = (" ✓", "$success") if fits else ("  ", "")
        if row == self.chosen:
            return Content.assemble(("› ", "bold $accent"), (text + total, "bold"), mark)
        return Content.assemble("  ", (text, MUTED), total, mark)

    def _bar(self, estimate: Estimate, largest: float) -> Content:
        """As long as the sum, the largest of all being the width."""
        width = max(1, self.size.width - 4)
        return Content("  ") + memory_bar(estimate, width, most=largest, limit=self.limit)
