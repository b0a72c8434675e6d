"""Where things stand on the lines of the heat map, and its axis."""

from __future__ import annotations

from dataclasses import dataclass

from spectrum_tui.core.results.results import IntArray

MAX_CELL, MAX_TALL = 12, 5
PERCENT = 6
"""`12.5*` after a space."""
ALONE = 10
"""The cell of a layer outside of any block: its mark and its score."""
MIN_SPARK = 8
"""Below this, a line of scores would say less than the cells beside it."""
_TICKS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatLayout:
    """Widths in terminal cells: name of the type, its percentage, one cell of the map, counts, line
    of scores.

    `columns` cells stand beside each other, `fold` blocks share one, and each is `tall` lines high.
    `short` are names without what all types share, so that cells are wider; counts that have no
    room beside the cells then stand below the name, on a line that is only colour.
    """

    label: int
    percent: int
    short: bool
    cell_width: int
    columns: int
    fold: int
    tall: int
    counts: int
    spark: int

    @classmethod
    def of(
        cls,
        size: tuple[int, int],
        *,
        label: int,
        short: int,
        percents: bool,
        rows: int,
        blocks: int,
        counts: int,
        low: int,
    ) -> HeatLayout:
        """Return the largest cells that let all blocks stand in a map of this width and height.

        As few neighbouring blocks share a cell as leave it `low` columns. Where that gives each
        block a cell, or one of two columns, names are `short` and then counts stand below them.
        Cells of three columns and more give way to a line of scores. Where types do not fit with
        one line each, the map scrolls.
        """
        wide, narrow = (PERCENT + 1, PERCENT - 1) if percents else (1, 1)
        ways = [(label, wide, counts, False), (short, narrow, counts, True)]
        if size[1] >= 2 * rows:
            ways.append((short, narrow, 0, True))
        laid = [cls._beside(size, way, rows, blocks, low) for way in ways[: 3 if blocks else 1]]
        return min(laid, key=lambda one: (one.fold, one.cell_width < 2))

    @classmethod
    def _beside(
        cls,
        size: tuple[int, int],
        way: tuple[int, int, int, bool],
        rows: int,
        blocks: int,
        low: int,
    ) -> HeatLayout:
        """Return the layout with so wide names, percentages and counts, the names short or not."""
        (width, height), (label, percent, counts, short) = size, way
        label = min(label, max(8, int(width * 0.3)))
        room = max(low, width - label - percent - counts)
        fold = max(1, -(-blocks * low // room))
        columns = -(-blocks // fold)
        cell = min(MAX_CELL, room // max(1, columns))
        beside = (room - MIN_SPARK - 1) // max(1, columns)
        if blocks >= MIN_SPARK and beside >= 2:
            cell = min(cell, beside)
        left = room - columns * cell - 1
        return cls(
            label=label,
            percent=percent,
            short=short,
            cell_width=cell,
            columns=columns,
            fold=fold,
            tall=max(1, min(MAX_TALL, height // max(1, rows))),
            counts=counts,
            spark=min(left, blocks) if min(left, blocks) >= MIN_SPARK else 0,
        )

    @property
    def words(self) -> int:
        """The line of a type that has its words and the marks of its cells."""
        return (self.tall - 1) // 2

    @property
    def cells_at(self) -> int:
        """Where the first block stands."""
        return self.label + self.percent

    def beside_name(self, percent: str) -> str:
        """Return a percentage between the name of a type and its cells."""
        return percent.rjust(self.percent) if self.short else f"{percent} ".rjust(self.percent)

    @property
    def counts_at(self) -> int:
        return self.cells_at + self.cells_width

    @property
    def cells_width(self) -> int:
        """How wide all cells beside each other are."""
        return self.columns * self.cell_width or ALONE

    def span(self, column: int) -> tuple[int, int]:
        """From where to where the cell of a column stands; the column after the last one is that
        of layers outside of any block, which stand where the first block would."""
        if column == self.columns:
            return self.cells_at, self.cells_at + min(ALONE, self.cells_width)
        x = self.cells_at + column * self.cell_width
        return x, x + self.cell_width

    def axis(self, numbers: IntArray, here: tuple[int, str] | None) -> tuple[str, str, str]:
        """Return the numbers of the blocks above the cells, as many as leave a gap between them.

        In three parts: before, what stands at the cursor (`here` is its column and text), after.
        Numbers that would touch it are left out.
        """
        width = self.cells_width
        text = [" "] * width
        number, at = "", width
        if here is not None:
            column, number = here
            at = max(0, min(column * self.cell_width, width - len(number)))
            number = number[:width]
        needed = len(str(numbers.max(initial=0))) + 2
        step = next((n for n in _TICKS if n * self.cell_width >= needed), _TICKS[-1])
        for column in range(0, len(numbers), step):
            tick, x = str(numbers[column]), column * self.cell_width
            clear = x + len(tick) < at or x > at + len(number)
            if clear and x + len(tick) <= width:
                text[x : x + len(tick)] = tick
        return "".join(text[:at]), number, "".join(text[at + len(number) :])
