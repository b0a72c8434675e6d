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
        self.ways: tuple[str, ...] = ("",)
        self._right_first = False

    def show(
        self, left: str, right: str = "", ways: Sequence[str] = (), *, right_first: bool = False
    ) -> None:
        """Say something else. `ways` to say it take the place of `left`, longest first; with
        `right_first` the first that leaves room for `right`."""
        now = (left, right, tuple(ways) or (left,), right_first)
        if now != (self.left, self.right, self.ways, self._right_first):
            self.left, self.right, self.ways, self._right_first = now
            self.refresh()

    def render(self) -> Content:
        """Drop the right part where it would touch the left one."""
        width = self.size.width
        taken = cell_len(self.right) + 3 if self._right_first else 0
        fitting = (text for text in self.ways if cell_len(text) + taken <= width)
        left = next(fitting, "" if self._right_first else self.ways[-1])
        room = width - cell_len(left) - cell_len(self.right)
        if room < 3 and left:
            return Content.styled(left, "bold")
        return Content.assemble((left, "bold"), " " * room, (self.right, MUTED))
