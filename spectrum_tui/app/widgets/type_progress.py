"""How far every layer type is, one line each; a model of experts has hundreds."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip

from spectrum_tui.app.widgets.cells import keep_end
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.worker.progress import TypeProgress


class TypeProgressView(LineView):
    """Name, bar, `7/32`, and failures where there are any."""

    HAS_CURSOR = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "types--bar",
        "types--track",
        "types--done",
        "types--dim",
        "types--bad",
    }
    DEFAULT_CSS = """
    TypeProgressView {
        & > .types--bar { color: $primary; }
        & > .types--track { color: $foreground 25%; }
        & > .types--done { color: $success; }
        & > .types--dim { color: $foreground 60%; }
        & > .types--bad { color: $error; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[tuple[str, TypeProgress]] = []
        self._figures_width = 0

    def update(self, types: dict[str, TypeProgress]) -> None:
        """Show this state; only lines that changed are drawn again."""
        rows = list(types.items())
        before, self._rows = self._rows, rows
        figures_width = max((len(_figures(state)) for state in types.values()), default=0)
        if len(before) != len(rows) or figures_width != self._figures_width:
            self._figures_width = figures_width
            self.resize_lines(0, len(rows))
            self.refresh()
            return
        changed = (i for i, row in enumerate(rows) if row != before[i])
        self.refresh_rows(changed)

    def render_row(self, row: int, width: int) -> Strip:
        name, state = self._rows[row]
        worked = state.done + state.failed
        finished = worked >= state.total
        bar_width = 6 if width < 48 else 20
        room = max(8, width - self._figures_width - bar_width - 4)
        filled = int(bar_width * worked / state.total) if state.total else bar_width
        figures = _figures(state).rjust(self._figures_width + 1)
        return Strip(
            [
                Segment(_mark(state, finished), self.line_style("types--done")),
                Segment(keep_end(name, room) + " ", self.line_style()),
                Segment("━" * filled, self.line_style("types--done" if finished else "types--bar")),
                Segment("─" * (bar_width - filled), self.line_style("types--track")),
                Segment(figures, self.line_style("types--bad" if state.failed else "types--dim")),
            ]
        )


def _mark(state: TypeProgress, finished: bool) -> str:
    return "✓ " if finished and not state.failed else "  "


def _figures(state: TypeProgress) -> str:
    failed = f" ✗{state.failed:,}" if state.failed else ""
    return f"{state.done:,}/{state.total:,}{failed}"
