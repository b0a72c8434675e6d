"""The YAML as it would be saved, line by line, without building the file."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.timer import Timer

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.spectrum import YamlView

SETTLE_SECONDS = 0.1
"""The scrollbar follows the number of lines only once the slider rests: it costs a repaint."""


class YamlPreview(LineView):
    """Shows a `YamlView`; `show` repaints the visible lines that differ."""

    HEADER_LINES = 1
    HAS_CURSOR = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "yaml-preview--comment",
        "yaml-preview--key",
        "yaml-preview--dash",
    }
    DEFAULT_CSS = """
    YamlPreview {
        height: 1fr;
        overflow-x: auto;
        scrollbar-size: 0 1;
        & > .line-view--header { background: $panel; color: $foreground 80%; text-style: bold; }
        & > .yaml-preview--comment { color: $foreground 55%; text-style: italic; }
        & > .yaml-preview--key { color: $accent; text-style: bold; }
        & > .yaml-preview--dash { color: $primary; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("h", "pan(-8)", "Left", "Show what is further left"),
        hidden_key("l", "pan(8)", "Right", "Show what is further right"),
    ]

    def __init__(self, view: YamlView, width: int) -> None:
        """`width` is that of the longest line that any percentage can bring."""
        self.view = view
        self._longest = width + 1  # a space goes before each line
        self._settling: Timer | None = None
        super().__init__()
        self.resize_lines(self._longest, len(view))

    @property
    def line_count(self) -> int:
        """The lines of the file, also while the scrollbar still waits."""
        return len(self.view)

    def show(self, view: YamlView) -> None:
        """Show another file in place of this one, scrolled as it is."""
        old, self.view = self.view, view
        top = self.scroll_offset.y
        rows = range(top, top + self.page_lines)
        self.refresh_rows([row for row in rows if _line(old, row) != _line(view, row)])
        if len(view) != len(old):
            self.refresh(Region(0, 0, self.view_size.width, self.HEADER_LINES))
            self._resize_later(at_once=rows.stop > len(view))

    def _resize_later(self, *, at_once: bool) -> None:
        if at_once:  # the end of the file came into view: scroll back to it
            self._settle()
        elif self._settling is None:
            self._settling = self.set_timer(SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        if self._settling is not None:
            self._settling.stop()
            self._settling = None
        self.resize_lines(self._longest, len(self.view))

    def action_pan(self, cells: int) -> None:
        self.scroll_to(x=max(0, self.scroll_offset.x + cells))

    def render_header(self, line: int, width: int) -> Strip:
        style = self.line_style("line-view--header")
        title = f" YAML, {counted(len(self.view), 'line')}"
        return Strip([Segment(title[:width].ljust(width), style)], width)

    def render_row(self, row: int, width: int) -> Strip:
        line = printable(self.view.line(row))
        if line.startswith("- "):
            dash = Segment(" - ", self.line_style("yaml-preview--dash"))
            return Strip([dash, Segment(line[2:], self.line_style())])
        kind = "comment" if line.startswith("#") else "key"
        return Strip([Segment(f" {line}", self.line_style(f"yaml-preview--{kind}"))])


def _line(view: YamlView, number: int) -> str | None:
    return view.line(number) if number < len(view) else None
