"""One line with a statement at the left and a lesser one at the right, where both fit."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget


class TotalsLine(Widget):
    """Laid out while it is drawn, so that neither a step nor a resize needs a layout."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TotalsLine { height: 1; width: 1fr; color: $foreground; text-wrap: nowrap; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.left, self.right = "", ""

    def show(self, left: str, right: str) -> None:
        """Say something else."""
        if (left, right) != (self.left, self.right):
            self.left, self.right = left, right
            self.refresh()

    def render(self) -> Content:
        """The right part is dropped where it would touch the left one."""
        room = self.size.width - cell_len(self.left) - cell_len(self.right)
        if room < 3:
            return Content.styled(self.left, "bold")
        return Content.assemble((self.left, "bold"), " " * room, (self.right, "$foreground 60%"))
