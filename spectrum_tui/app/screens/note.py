"""A note of one line."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.widgets.key_footer import KeyFooter


class NoteScreen(Dialog[str | None]):
    """Dismissed with the text, which may be empty, or None when cancelled."""

    DEFAULT_CSS = """
    NoteScreen > #dialog {
        width: 90%; max-width: 80; height: auto;
        & > Input { background: $panel; padding: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", key_display="esc", tooltip="Keep the note as it is"),
    ]

    def __init__(self, title: str, note: str, longest: int) -> None:
        super().__init__()
        self._title = title
        self._field = Input(note, max_length=longest, select_on_focus=False, compact=True)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(self._title)  # a string would be read as markup
            dialog.border_subtitle = "enter keeps it, esc cancels"
            yield self._field
        yield KeyFooter()

    @on(Input.Submitted)
    def _written(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
