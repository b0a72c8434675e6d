"""One line with a statement at the left and a lesser one at the right, where both fit."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED


class TotalsLine(Widget):
    """Laid out while it is drawn, so that neither a step nor a resize needs a layout."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TotalsLine { height: 1; width: 1fr; color: $foreground; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.left, self.right = "", ""
        self.more: tuple[str, ...] = ()
        self.short = ""

    def show(self, left: str, right: str, more: Sequence[str] = (), short: str = "") -> None:
        """Say something else. `more` are ways to go on after `left`, longest first; `short` stands
        for `left` where only that leaves room for any of them."""
        now = (left, right, tuple(more), short)
        if now != (self.left, self.right, self.more, self.short):
            self.left, self.right, self.more, self.short = now
            self.refresh()

    def render(self) -> Content:
        """Drop the right part where it would touch the left one, and what goes on
        after that is as long as there is room for."""
        width = self.size.width
        said = [self.left + more for more in self.more]
        said += [self.short + more for more in self.more] if self.short else []
        left = next((text for text in said if cell_len(text) <= width), self.left)
        room = width - cell_len(left) - cell_len(self.right)
        if room < 3:
            return Content.styled(left, "bold")
        return Content.assemble((left, "bold"), " " * room, (self.right, MUTED))
