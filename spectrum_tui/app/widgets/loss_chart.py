"""Training losses over steps, drawn in the dots of braille: one method bright, the others dim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from spectrum_tui.core.numbers import counted

Points = tuple[tuple[int, float], ...]
SMOOTHED = 0.05
"""Share of the steps whose mean a point is: batches differ more than methods do."""
_FINITE = 1e39
"""Above what a loss in float32 reaches; means of losses below are finite in float64."""
_AXIS = 7
"""Cells of the losses at the left edge."""
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The dots of a braille cell, (left, right) from the top."""


@dataclass(frozen=True, slots=True)
class Curve:
    """(step, loss) of one training; `bright` where it is the one that is looked at."""

    points: Points
    bright: bool = False


def window_of(steps: int) -> int:
    """Return of how many steps a point is the mean."""
    return max(1, round(steps * SMOOTHED))


def smoothed(points: Points, window: int) -> Points:
    """Return the mean loss of the last `window` steps at each step, fewer at the beginning; steps
    without a finite loss are left out."""
    finite = [(step, loss) for step, loss in points if abs(loss) < _FINITE]
    sums = [0.0]
    for _, loss in finite:
        sums.append(sums[-1] + loss)
    return tuple(
        (step, (sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window))
        for i, (step, _) in enumerate(finite)
    )


class LossChart(Widget):
    """As many curves as there are, on the scale of all of them."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"loss--bright", "loss--dim", "loss--axis"}
    DEFAULT_CSS = """
    LossChart {
        height: 1fr;
        & > .loss--bright { color: $accent; }
        & > .loss--dim { color: $foreground 35%; }
        & > .loss--axis { color: $foreground 60%; }
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._curves: tuple[Curve, ...] = ()
        self._steps = 1
        self._lines: list[Strip] = []
        self._drawn: object = None

    def show(self, curves: Sequence[Curve], steps: int) -> None:
        """Draw these, of trainings of at most so many steps."""
        self._steps = max(2, steps)
        window = window_of(self._steps)
        self._curves = tuple(Curve(smoothed(c.points, window), c.bright) for c in curves)
        self._drawn = None
        self.refresh()

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        super().notify_style_update()
        self._drawn = None

    def render_line(self, y: int) -> Strip:
        """Textual's line API."""
        width, height = self.content_size
        if self._drawn != (width, height):
            self._lines, self._drawn = self._draw(width, height), (width, height)
        return self._lines[y] if y < len(self._lines) else Strip.blank(width, self.rich_style)

    def _draw(self, width: int, height: int) -> list[Strip]:
        axis = self.get_component_rich_style("loss--axis")
        columns, rows = width - _AXIS, height - 1
        drawn = [curve for curve in self._curves if curve.points]
        if columns < 8 or rows < 2:
            return []
        if not drawn:
            return [Strip([Segment(" " * _AXIS + "No step yet.", axis)])]
        low, high = _range(drawn)
        dim = _cells((c for c in drawn if not c.bright), columns, rows, (low, high), self._steps)
        bright = _cells((c for c in drawn if c.bright), columns, rows, (low, high), self._steps)
        labels = {0: high, rows - 1: low}
        if rows >= 7:
            labels[rows // 2] = high - (high - low) * (rows // 2) / (rows - 1)
        lines = [self._line(labels.get(row), dim[row], bright[row]) for row in range(rows)]
        foot = counted(self._steps, "step")
        text = f"{'0':>{_AXIS}}{foot:>{columns}}"
        return [*lines, Strip([Segment(text, axis)])]

    def _line(self, label: float | None, dim: Sequence[int], bright: Sequence[int]) -> Strip:
        axis = self.get_component_rich_style("loss--axis")
        text = "" if label is None else _label(label)
        segments = [Segment(f"{text:>{_AXIS - 1}}│", axis)]
        styles = {
            True: self.get_component_rich_style("loss--bright"),
            False: self.get_component_rich_style("loss--dim"),
        }
        run, now = "", False
        for below, above in zip(dim, bright, strict=True):
            dots, is_bright = (above, True) if above else (below, False)
            if is_bright != now and run:
                segments.append(Segment(run, styles[now]))
                run = ""
            run, now = run + (chr(0x2800 + dots) if dots else " "), is_bright
        return Strip([*segments, Segment(run, styles[now])])


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the losses at the lower and the upper edge: what is beyond is drawn on it. The few
    first steps of one that diverges must not flatten the others."""
    values = sorted(loss for curve in curves for _, loss in curve.points)
    low, high = values[0], values[-1]
    middle = values[len(values) // 2]
    if high - middle > 4 * (middle - low) > 0:
        high = middle + 4 * (middle - low)
    margin = max(0.5, abs(low) / 100)
    return (low, high) if high > low else (low - margin, high + margin)


def _label(loss: float) -> str:
    """Return a loss in the cells of the axis, with as many decimals as there is room for."""
    fixed = (f"{loss:.{digits}f}" for digits in (3, 2, 1, 0))
    return next((text for text in fixed if len(text) < _AXIS), f"{loss:.0e}")


def _cells(
    curves: Iterable[Curve], columns: int, rows: int, scale: tuple[float, float], steps: int
) -> list[list[int]]:
    """Return the braille dots of each cell, curves drawn from column to column."""
    cells = [[0] * columns for _ in range(rows)]
    low, high = scale
    across, down = 2 * columns - 1, 4 * rows - 1
    for curve in curves:
        before: tuple[int, int] | None = None
        for step, loss in curve.points:
            x = round(min(1.0, max(0.0, (step - 1) / (steps - 1))) * across)
            y = round(min(1.0, max(0.0, (high - loss) / (high - low))) * down)
            for at_x, at_y in _between(before or (x, y), (x, y)):
                cells[at_y // 4][at_x // 2] |= _DOTS[at_y % 4][at_x % 2]
            before = (x, y)
    return cells


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """Yield the dots of a line."""
    across, down = end[0] - start[0], end[1] - start[1]
    number = max(abs(across), abs(down), 1)
    for i in range(number + 1):
        yield start[0] + round(across * i / number), start[1] + round(down * i / number)
