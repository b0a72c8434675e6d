"""A question with a safe default."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.widgets.key_footer import hidden_key


class ConfirmScreen(Dialog[bool]):
    """Answers True for yes; the button of no has the focus, and escape means no."""

    DEFAULT_CSS = """
    ConfirmScreen {
        & > Vertical {
            width: 58;
            max-width: 90%;
            height: auto;
            border: round $warning;
            border-title-color: $warning;
        }
        & #detail { color: $foreground 80%; margin: 0 0 1 0; }
        & Horizontal { height: 1; align-horizontal: right; }
        & Button { margin: 0 0 0 2; }
    }
    """
    AUTO_FOCUS = "#no"  # enter is safe
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", tooltip="Do it"),
        Binding("n,escape", "dismiss(False)", "No", tooltip="Leave things as they are"),
        hidden_key("left", "app.focus_previous", "Left", "The previous button"),
        hidden_key("right", "app.focus_next", "Right", "The next button"),
    ]

    def __init__(self, question: str, detail: str, yes: str, no: str) -> None:
        super().__init__()
        self._question = question
        self._detail = detail
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._question
            yield Static(self._detail, markup=False, id="detail")
            with Horizontal():
                yield Button(f"{self._yes} (y)", id="yes", variant="warning", compact=True)
                yield Button(f"{self._no} (n)", id="no", variant="primary", compact=True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "yes")
