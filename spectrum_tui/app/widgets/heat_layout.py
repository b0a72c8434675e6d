"""Where things stand on a line of the heat map, and its axis."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.results.results import IntArray

MAX_CELL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatLayout:
    """Widths in terminal cells: label, the column of layers without a number, one layer, counts.

    `shown` is how many layers fit beside each other.
    """

    label: int
    single: int
    cell: int
    shown: int
    counts: int

    @classmethod
    def of(
        cls, width: int, *, label: int, has_single: bool, layers: int, counts: int, low: int
    ) -> HeatLayout:
        """Return the widest cells (of `low` to 4) with which all layers fit, counts beside them.

        The counts give way before a layer does; where even narrow cells do not fit, it scrolls.
        """
        label = min(label, max(8, int(width * 0.36)))
        for cell in range(MAX_CELL, low - 1, -1):
            single = max(cell, 2) + 1 if has_single else 0
            room = width - label - 1 - single
            if layers * cell <= room - counts:
                return cls(label=label, single=single, cell=cell, shown=layers, counts=counts)
        single = 3 if has_single else 0
        shown = min(layers, max(1, (width - label - 1 - single) // low))
        return cls(label=label, single=single, cell=low, shown=shown, counts=0)

    @property
    def cells_at(self) -> int:
        """Where the first layer stands."""
        return self.label + 1 + self.single

    @property
    def counts_at(self) -> int:
        return self.cells_at + self.shown * self.cell

    def axis(self, numbers: IntArray, first: int, here: int | None) -> tuple[str, str, str]:
        """Return the layer numbers above the cells, from column `first` on: one every 5 or 10
        layers.

        In three parts: before, the number of column `here`, after. Ticks that would touch it
        are left out.
        """
        width = self.shown * self.cell + self.counts
        text = [" "] * width
        number, at = "", width
        if here is not None:
            number = str(numbers[here])
            at = max(0, min((here - first) * self.cell, width - len(number)))
        step = 5 if self.cell > 1 else 10
        for column in range(first, min(first + self.shown, len(numbers))):
            tick, x = str(numbers[column]), (column - first) * self.cell
            clear = x + len(tick) < at or x > at + len(number)
            if numbers[column] % step == 0 and clear and x + len(tick) <= width:
                text[x : x + len(tick)] = tick
        return "".join(text[:at]), number, "".join(text[at + len(number) :])
