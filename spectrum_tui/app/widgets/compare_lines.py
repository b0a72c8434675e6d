"""The two lists of a comparison: its types with bars of agreement, and the layers that moved."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import bar, keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.comparison.compare import (
    Agreement,
    Comparison,
    Move,
    change_text,
    rank_text,
    rho_text,
    share_text,
)
from spectrum_tui.core.results.results import BoolArray

_BAR = 10
"""Cells of an agreement bar at least: below, its eighths tell less than the number beside it."""
_COLUMNS = (("in both", 8), ("Spearman", 10), ("A", 6), ("B", 6), ("shared", 8))
NARROW = 64
"""Columns below which the agreement has no room beside all others."""
_TRACK, _WIDEST_TRACK = 9, 41
"""Cells of the line from one rank to the other."""


class TypeLines(LineView):
    """One line per type: layers, Spearman's rho, what A and B select, and how far they agree."""

    HEADER_LINES = 1
    COMPONENT_CLASSES = {"types--bar", "types--muted"}  # noqa: RUF012 (as in Textual)
    DEFAULT_CSS = """
    TypeLines {
        height: 1fr;
        & > .types--bar { color: $primary; }
        & > .types--muted { color: $foreground 60%; }
    }
    """

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(len(comparison.types))
        self._types = comparison.types
        self._agreements: tuple[Agreement, ...] = ()
        self._longest = max((cell_len(printable(kind.name)) for kind in self._types), default=0)

    def show(self, agreements: tuple[Agreement, ...]) -> None:
        self._agreements = agreements
        self.refresh()

    def render_header(self, line: int, width: int) -> Strip:
        name = self._name_width(width)
        text = "type".ljust(name) + "".join(f"{title:>{cells}}" for title, cells in _shown(width))
        return Strip([Segment(f"{text}  agreement", self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """One type; a dash for what cannot be said of it."""
        kind, agreement = self._types[row], self._agreements[row]
        cursor = self.with_cursor(row)
        name = keep_end(kind.name, self._name_width(width))
        cells = (str(kind.common), rho_text(kind.rho), *self._counts(agreement))
        columns = _shown(width)
        texts = zip(cells[-len(columns) :], columns, strict=True)
        text = "".join(f"{c:>{w}}" for c, (_, w) in texts)
        room = width - cell_len(name) - len(text) - 2
        style = self.line_style(*cursor)
        muted = self.line_style("types--muted", *cursor)
        if not kind.common:
            only = f"only {'A' if kind.only_a else 'B'}"
            return Strip([Segment(name + text, muted), Segment(f"  {only:<{room}}", muted)])
        share = agreement.jaccard if agreement.a or agreement.b else 0.0
        blocks = bar(share, max(0, room - 6))
        return Strip(
            [
                Segment(f"{name}{text}  ", style),
                Segment(blocks, self.line_style("types--bar", *cursor)),
                Segment(f"{share_text(agreement.jaccard):>6}", style),
            ]
        )

    @staticmethod
    def _counts(agreement: Agreement) -> tuple[str, ...]:
        return tuple(str(n) for n in (agreement.a, agreement.b, agreement.shared))

    def _name_width(self, width: int) -> int:
        room = width - sum(cells for _, cells in _shown(width)) - 2 - _BAR - 6
        return max(8, min(self._longest, room))


def _shown(width: int) -> tuple[tuple[str, int], ...]:
    """Return the columns between name and agreement, without the first where there is no room."""
    return _COLUMNS if width >= NARROW else _COLUMNS[1:]


class MoveLines(LineView):
    """One line per layer that moved: its ranks, a line from the one to the other, its name."""

    HEADER_LINES = 1
    COMPONENT_CLASSES = {"moves--rise", "moves--fall", "moves--muted"}  # noqa: RUF012
    DEFAULT_CSS = """
    MoveLines {
        height: 1fr;
        & > .moves--rise { color: $success; }
        & > .moves--fall { color: $warning; }
        & > .moves--muted { color: $foreground 40%; }
    }
    """

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(len(comparison.moves))
        self._moves: Sequence[Move] = comparison.moves
        self._layers = comparison.a.scores.layers
        self._masks: tuple[BoolArray, BoolArray] | None = None
        ranks = [_ranks(move) for move in self._moves]
        self._ranks_width = max((len(text) for text in ranks), default=5)
        self._longest = max((len(self._layers[m.row_a]) for m in self._moves), default=5)

    def show(self, masks: tuple[BoolArray, BoolArray]) -> None:
        """Say what becomes of the layers at another percentage."""
        self._masks = masks
        self.refresh()

    def render_header(self, line: int, width: int) -> Strip:
        track = self._track_width(width)
        text = f"{'rank':<{self._ranks_width}}  {'best → last':<{track}}  {'selected':<9} layer"
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """One move; up and down are told by the order of the ends, not by colour alone."""
        move, cursor = self._moves[row], self.with_cursor(row)
        plain = self.line_style(*cursor)
        muted = self.line_style("moves--muted", *cursor)
        way = self.line_style("moves--rise" if move.by < 0 else "moves--fall", *cursor)
        before, between, after = track_parts(move, self._track_width(width))
        change = self._change(move)
        head = f"{_ranks(move):<{self._ranks_width}}  "
        strong = way if change in ("enters", "leaves") else muted
        name_width = max(8, width - len(head) - self._track_width(width) - 12)
        return Strip(
            [
                Segment(head, plain),
                Segment(before, muted),
                Segment(between, way),
                Segment(f"{after}  ", muted),
                Segment(f"{change:<10}", strong),
                Segment(keep_end(self._layers[move.row_a], name_width), plain),
            ]
        )

    def _change(self, move: Move) -> str:
        if self._masks is None:
            return ""
        return change_text(bool(self._masks[0][move.row_a]), bool(self._masks[1][move.row_b]))

    def _track_width(self, width: int) -> int:
        room = width - self._ranks_width - 2 - 12 - self._longest
        return max(_TRACK, min(_WIDEST_TRACK, room))


def _ranks(move: Move) -> str:
    return f"{rank_text(move.rank_a)} → {rank_text(move.rank_b)} of {move.of}"


def track_parts(move: Move, width: int) -> tuple[str, str, str]:
    """Return a line of `width` cells from the best rank to the last: what is before, ○━━● or ●━━○,
    after.

    The ends are where the ranks in A (○) and in B (●) are; on one cell, B's is seen.
    """
    a, b = (round((rank - 1) / (move.of - 1) * (width - 1)) for rank in (move.rank_a, move.rank_b))
    low, high = min(a, b), max(a, b)
    ends = "●" if a == b else "○" + "━" * (high - low - 1) + "●"
    return "─" * low, ends if a <= b else ends[::-1], "─" * (width - 1 - high)
