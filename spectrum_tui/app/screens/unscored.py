"""The tensors of a model that get no score, and why: nothing is left out silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.strip import Strip

from spectrum_tui.app.screens.dialog import ListDialog
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.numbers import counted


class UnscoredLines(LineView):
    """A tensor's name, then the reason, on as many lines as that takes."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {"unscored--reason"}
    DEFAULT_CSS = """
    UnscoredLines { height: 1fr; & > .unscored--reason { color: $text-muted; } }
    """

    def __init__(self, skipped: Sequence[tuple[str, str]]) -> None:
        super().__init__(0)  # until the width is known
        self.skipped = skipped
        self._lines: list[tuple[str, str]] = []
        self._longest = max((cell_len(printable(name)) for name, _ in skipped), default=0)
        self._longest_reason = max((cell_len(printable(why)) for _, why in skipped), default=0)

    def render_header(self, line: int, width: int) -> Strip:
        text = f"{'tensor':<{self._name_width(width) + 2}}why it has no score"
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def on_resize(self) -> None:
        width = self.view_size.width
        room = max(1, width - self._name_width(width) - 2)
        broken: dict[str, list[str]] = {}  # thousands of parameters share a few reasons
        self._lines = []
        for name, reason in self.skipped:
            if reason not in broken:
                broken[reason] = [line.plain for line in Content(printable(reason)).wrap(room)]
            first, *others = broken[reason] or [""]
            self._lines += [(name, first), *(("", line) for line in others)]
        self.resize_lines(width, len(self._lines))
        self.refresh()

    def render_row(self, row: int, width: int) -> Strip:
        name, reason = self._lines[row]
        cursor = self.with_cursor(row)
        name_width = self._name_width(width)
        rest = f"  {reason}".ljust(width - name_width)
        return Strip(
            [
                Segment(keep_end(name, name_width), self.line_style(*cursor)),
                Segment(rest, self.line_style("unscored--reason", *cursor)),
            ]
        )

    def _name_width(self, width: int) -> int:
        """As much as the longest reason leaves, and at least half."""
        return min(self._longest, max(width // 2, width - self._longest_reason - 2))


class UnscoredScreen(ListDialog):
    """A list over the layers screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,u,enter", "dismiss", "Close", key_display="esc", tooltip="Close the list"),
    ]

    def __init__(self, skipped: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.skipped = skipped

    def compose(self) -> ComposeResult:
        title = f"{counted(len(self.skipped), 'tensor')} without a score"
        yield from self.framed(UnscoredLines(self.skipped), title)
