"""A question with a safe default."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from spectrum_tui.app.screens.dialog import Dialog


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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", tooltip="Do it"),
        Binding("n,escape", "answer(False)", "No", tooltip="Leave things as they are"),
        Binding("left", "app.focus_previous", "Left", show=False, tooltip="The previous button"),
        Binding("right", "app.focus_next", "Right", show=False, tooltip="The next button"),
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

    def on_mount(self) -> None:
        """Enter is safe."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_answer(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
