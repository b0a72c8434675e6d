"""A line above a list for the text that its rows must contain."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from spectrum_tui.app.widgets.key_footer import hidden_key


class FilterInput(Input):
    """The text; while it has the keys, all others of the screen are letters for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear filter", tooltip="Show every row again"),
        Binding("enter", "keep", "To the rows", tooltip="Keep the filter, go to the rows"),
        hidden_key("down", "keep", "To the rows", "Keep the filter, go to the rows"),
    ]

    def action_clear(self) -> None:
        self.query_ancestor(FilterLine).close()

    def action_keep(self) -> None:
        self.query_ancestor(FilterLine).leave()


class FilterLine(Horizontal):
    """Hidden until it is opened; closed, it shows every row again."""

    DEFAULT_CSS = """
    FilterLine {
        display: none;
        height: 1;
        background: $boost;
        & > #filter-label { width: auto; color: $accent; text-style: bold; padding: 0 1 0 0; }
        & > FilterInput { width: 1fr; background: $boost; }
        & > #filter-count { width: auto; color: $text-muted; padding: 0 1; }
        &.-open { display: block; }
    }
    """

    class Closed(Message):
        """Every row is shown again."""

    def __init__(
        self, placeholder: str, narrow: Callable[[str], str], leave: Callable[[], object]
    ) -> None:
        """`narrow` shows the rows that contain a text and says how many there are; `leave` gives
        the keys back to them."""
        super().__init__(id="filter")
        self._narrow, self.leave = narrow, leave
        self._input = FilterInput(placeholder=placeholder, compact=True)
        self._count = Static(markup=False, id="filter-count")

    def compose(self) -> ComposeResult:
        yield Static("/", id="filter-label")
        yield self._input
        yield self._count

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self) -> None:
        self.add_class("-open")
        self._input.focus()

    def close(self) -> None:
        self.remove_class("-open")
        self._input.value = ""
        self.leave()
        self.post_message(self.Closed())

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._count.update(self._narrow(event.value))
