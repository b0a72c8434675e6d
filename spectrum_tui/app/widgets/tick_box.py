"""A box to tick that reads without colour: Textual's shows an X either way, dim where it is off."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Checkbox


class TickBox(Checkbox):
    """`[x] Label`, or `[ ] Label`."""

    DEFAULT_CSS = """
    TickBox {
        border: none !important;  /* with the focus as well: in one line it would hide the label */
        padding: 0;
        background: $surface;
        & > .toggle--button { background: $panel; color: $foreground; text-style: bold; }
    }
    """

    @property
    def _button(self) -> Content:
        mark = "[x]" if self.value else "[ ]"
        return Content.assemble((mark, self.get_visual_style("toggle--button")))
