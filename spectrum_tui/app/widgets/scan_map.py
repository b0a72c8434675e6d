"""The map of a running scan, and below it a cell in words, the early answers, the newest scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Self

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.heat_grid import HeatGrid
from spectrum_tui.app.widgets.layer_facts import whole
from spectrum_tui.app.widgets.scan_grid import ScanGrid
from spectrum_tui.app.widgets.scan_matrix import ScanMatrix, Stage
from spectrum_tui.core import numbers
from spectrum_tui.core.events import LayerFailed
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.worker.progress import Snapshot

NEWEST = 12
"""Scores that are written below the map: more have no room in 200 columns."""
LINES = 2
"""Below the map; one more where there is room."""
LARGE = 2_000
"""Layers above which the scores over the depth are drawn anew once a second: 96,000 of 1,600 types
take 60 ms, these 0.6 ms. A small model may be done within a second."""


class ScanMap(Vertical):
    """Polled by the screen; `place` is the layer under the cursor."""

    DEFAULT_CSS = """
    ScanMap {
        border: round $panel; border-title-color: $primary; padding: 0 1; height: 1fr;
        &:focus-within { border: round $accent; }
        & > #scan-foot { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self, matrix: ScanMatrix) -> None:
        super().__init__()
        self.matrix = matrix
        self.grid = ScanGrid(matrix)
        self.taken = 0
        """How many of the scores that have come are in the matrix."""
        self._title = described(matrix.scores.metric).title
        self._foot = Static("", markup=False, id="scan-foot")
        self._shown = Content()
        self._scan = Snapshot()
        self._sparked, self._owes_sparks = 0.0, False
        self._between = 1.0 if len(matrix.scores.layers) > LARGE else 0.2

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self._foot

    def on_mount(self) -> None:
        self.border_title = f"{self._title} by type and block"

    def focus(self, scroll_visible: bool = True) -> Self:
        self.grid.focus(scroll_visible)
        return self

    def follow(self, scan: Snapshot, scores: list[tuple[str, float]]) -> None:
        """Take in what has come since `taken`, and show it: polls without news cost nothing."""
        self.taken += len(scores)
        news = self.matrix.take(scores, (work.layer for work in scan.in_work))
        self._scan = scan
        self._owes_sparks |= bool(scores)
        now = time.monotonic()
        is_due = not scan.live or now - self._sparked >= self._between
        sparks = self._owes_sparks and is_due
        if sparks:
            self._sparked, self._owes_sparks = now, False
        if news or sparks:
            self.grid.follow(sparks=sparks)
            self._show_foot()

    @property
    def place(self) -> str:
        """The first layer under the cursor, "" where there is none."""
        return next((self.matrix.scores.layers[row] for row in self.grid.cursor_rows), "")

    def go_to(self, layer: str) -> None:
        """Put the cursor on the cell of a layer, if it is planned."""
        row = self.matrix.row_of(layer)
        if row is not None:
            self.grid.go_to(row)

    def on_resize(self) -> None:
        lines = LINES + (self.screen.size.height >= 32)
        room = Size(self.content_size.width, self.content_size.height - lines)
        height = min(room.height, self.grid.fit(room))
        self.grid.styles.height = height
        self._foot.styles.height = lines
        self._foot.styles.margin = (1 if height < room.height else 0, 0, 0, 0)
        self._show_foot()

    @on(HeatGrid.Moved)
    def _moved(self, event: HeatGrid.Moved) -> None:
        event.stop()
        self._show_foot()

    # -- in words ------------------------------------------------------------------------------

    def _show_foot(self) -> None:
        lines = [self._cell(), self._early(), self._newest()]
        text = Content("\n").join(lines)
        if text != self._shown:
            self._shown = text
            self._foot.update(text, layout=False)

    def _cell(self) -> Content:
        rows = self.grid.cursor_rows
        if not rows:
            return Content.styled("No layer here.", MUTED)
        if len(rows) > 1:
            return self._several(rows)
        row = rows[0]
        name = Content.styled(printable(self.matrix.scores.layers[row]), "bold")
        return Content.assemble(name, "  ", *self._facts(row))

    def _facts(self, row: int) -> Iterator[Content | tuple[str, str]]:
        layer = self.matrix.scores.layers[row]
        match self.matrix.stages[row]:
            case Stage.SCORED:
                score = float(self.matrix.scores.values[row])
                yield Content(f"{self._title} ")
                yield numbers.score(score), "bold $accent"
            case Stage.IN_WORK:
                yield "▸ in progress", "$accent"
            case Stage.FAILED:
                reasons = (f.reason for f in self._scan.failures if f.layer == layer)
                yield f"✗ {printable(next(reasons, 'no score'))}", "$text-error"
            case _:
                yield "· not yet", MUTED

    def _several(self, rows: list[int]) -> Content:
        row, column = self.grid.cell or (0, 0)
        blocks = self.grid.matrix.numbers
        where = f", block {self.grid.matrix.block(column)}" if column < len(blocks) else ""
        name = f"{printable(self.grid.matrix.labels[row])}{where}"
        values = self.matrix.scores.values[rows]
        scored = int((~np.isnan(values)).sum())
        facts = [f"{scored:,} of {len(rows):,} scored"]
        if failed := int((self.matrix.stages[rows] == Stage.FAILED).sum()):
            facts.append(f"✗ {failed:,} failed")
        finite = values[np.isfinite(values)]
        if len(finite):
            facts.append(f"mean {self._title} {numbers.score(float(finite.mean()))}")
        return Content.assemble((name, "bold"), f"  {' · '.join(facts)}")

    def _early(self) -> Content:
        """Which types are complete, and the best layer of each."""
        complete = self.matrix.complete_types()
        types = len(self.matrix.names.types)
        head = f"{len(complete)} of {counted(types, 'type')} complete"
        best = [self._best(name, row) for name, row in complete]
        parts = [Content.styled(head, "bold" if complete else MUTED)]
        if best:
            whose = "its best" if len(best) == 1 else "their best"  # others may be better
            best[0] = Content.assemble((whose, MUTED), "  ", best[0])
        return whole([*parts, *best], self.content_size.width, "  ")

    def _best(self, name: str, row: int) -> Content:
        score = numbers.score(float(self.matrix.scores.values[row]))
        where = self.matrix.block_of(row)
        block = f" in block {where}" if where else ""
        return Content.assemble((score, "bold $accent"), f" {printable(name)}{block}")

    def _newest(self) -> Content:
        newest = islice(self._scan.recent, NEWEST)
        parts = [Content.styled("newest", MUTED)]
        for event in newest:
            if isinstance(event, LayerFailed):
                score, style = "✗", "$text-error"
            else:
                score = numbers.score(event.metrics[self.matrix.scores.metric])
                style = "bold $accent"
            name = printable(self._short(event.layer))
            parts.append(Content.assemble((score, style), f" {name}"))
        return whole(parts, self.content_size.width, "   ")

    def _short(self, layer: str) -> str:
        """Return a layer as the number of its block and its last module: `9.up_proj`."""
        row = self.matrix.row_of(layer)
        block = "" if row is None else self.matrix.block_of(row)
        return f"{block}.{layer.rpartition('.')[2]}" if block else layer
