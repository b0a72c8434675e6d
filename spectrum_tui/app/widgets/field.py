"""An input with its label, and beside it one line of help that gives way to an error."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Label, Static


class Field(Widget):
    """A labelled control. `stacked` puts the help below, for controls that need the width."""

    DEFAULT_CSS = """
    Field {
        height: auto;
        layout: grid;
        grid-size: 3;
        grid-columns: 15 20 1fr;
        grid-rows: auto;
        & > Label { color: $foreground 80%; }
        & > Input { background: $panel; padding: 0 1 !important; }
        & SelectCurrent { background: $panel; padding: 0 1 !important; }
        & > .field--help { height: auto; padding: 0 0 0 2; color: $foreground 60%; }
        &.-stacked { grid-size: 2; grid-columns: 15 1fr; }
        &.-stacked > .field--help { column-span: 2; padding: 0 0 0 16; }
        &:focus-within > Label { color: $accent; text-style: bold; }
        &.-error > .field--help { color: $error; }
    }
    """

    def __init__(
        self, name: str, label: str, control: Widget, help_text: str, *, stacked: bool = False
    ) -> None:
        super().__init__(id=f"field-{name}", classes="-stacked" if stacked else "")
        self._label = label
        self.control = control
        self.error = ""
        """What is wrong with the value, "" if nothing is."""
        self.help_text = help_text
        """The line beside the control as it is shown: help, state or error."""
        self._own_help = help_text
        self._help = Static(help_text, markup=False, classes="field--help")

    def compose(self) -> ComposeResult:
        yield Label(self._label, markup=False)
        yield self.control
        yield self._help

    def show_error(self, message: str, hint: str = "") -> None:
        self.error = message
        self._show(f"✗ {message} {hint}".rstrip(), error=True)

    def show_help(self, text: str | None = None) -> None:
        self.error = ""
        self._show(self._own_help if text is None else text, error=False)

    def _show(self, text: str, *, error: bool) -> None:
        self.help_text = text
        self.set_class(error, "-error")
        self._help.update(Content(text))
