"""A row of views to choose from, of which one is shown: tabs that take a single line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED


class ViewBar(Widget):
    """Names to click; the key of each is underlined in its name. `note` stands at the right."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    ViewBar { height: 1; width: 1fr; text-wrap: nowrap; }
    """

    current: reactive[str] = reactive("")
    note: reactive[str] = reactive("")

    @dataclass
    class Chosen(Message):
        """A name was clicked."""

        name: str

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        """`names` are (name, its key); the first one is current."""
        super().__init__()
        self._names = list(names)
        self._shorter: tuple[str, ...] = ()
        self.set_reactive(ViewBar.current, self._names[0][0])

    def show_names(self, names: Sequence[tuple[str, str]]) -> None:
        if list(names) != self._names:
            self._names = list(names)
            self.refresh()

    def show_note(self, note: str, *shorter: str) -> None:
        """Say something at the right edge, or the first of `shorter` that fits there."""
        self.note, self._shorter = note, shorter

    def render(self) -> Content:
        """Return the names with the current one as a block, the note at the right edge."""
        parts = [self._label(name, key) for name, key in self._names]
        bar = Content.assemble(*parts)
        room = self.size.width - bar.cell_length - 1
        for note in (self.note, *self._shorter):
            if len(note) <= room:
                return Content.assemble(bar, (note.rjust(room), MUTED))
        return bar

    def _label(self, name: str, key: str) -> Content:
        at = name.lower().find(key)
        style = "bold $background on $primary" if name == self.current else "$foreground 80%"
        underlined = f"{style} underline"
        return Content.assemble(
            (" " + name[:at], style), (name[at], underlined), (name[at + 1 :] + " ", style)
        )

    def on_click(self, event: events.Click) -> None:
        x = event.x
        for name, _ in self._names:
            if x < len(name) + 2:
                self.post_message(self.Chosen(name))
                return
            x -= len(name) + 2
