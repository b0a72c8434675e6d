"""One value to type, checked before it is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.core.errors import SpectrumError


class ValueScreen(Dialog[str | None]):
    """Dismissed with the text, which may be empty, or None when cancelled."""

    DEFAULT_CSS = """
    ValueScreen > #dialog {
        width: 90%; max-width: 80; height: auto;
        & > Input { background: $panel; padding: 0 1; }
        & > Static { height: auto; margin: 1 0 0 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", key_display="esc", tooltip="Keep what is chosen"),
    ]

    def __init__(self, title: str, value: str, about: str, check: Callable[[str], object]) -> None:
        """`check` raises SpectrumError for a text that cannot be taken."""
        super().__init__()
        self._title, self._about, self._check = title, about, check
        self._field = Input(value, id="value", compact=True)
        self._said = Static(markup=False, id="about")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(printable(self._title))  # a string is read as markup
            dialog.border_subtitle = "enter takes it, esc cancels"
            yield self._field
            yield self._said
        yield KeyFooter()

    @on(Input.Changed)
    def _explain(self) -> None:
        self._said.update(Content.styled(self._about, MUTED))

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        try:
            self._check(event.value)
        except SpectrumError as error:
            text = printable(f"✗ {error.message} {error.hint}")
            self._said.update(Content.styled(text, "$error"))
        else:
            self.dismiss(event.value)
