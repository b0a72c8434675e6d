"""Which model scores without sizes are of: a folder, or an id on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from spectrum_tui.app.messages import SizesRequested
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter

_ABOUT = (
    "These scores hold no sizes, and memory cannot be estimated without. A folder with the model, "
    "or with its config.json alone, tells them, and so does the hub: headers are read, no weights."
)


class ModelSizesScreen(Dialog[bool]):
    """Dismissed with True once the sizes are there."""

    DEFAULT_CSS = """
    ModelSizesScreen > #dialog {
        width: 90%; max-width: 100; height: auto;
        & > #about { color: $foreground 70%; margin: 0 0 1 0; }
        & > #model { background: $panel; padding: 0 1; }
        & > #state { height: auto; margin: 1 0 0 0; }
    }
    """
    AUTO_FOCUS = "#model"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "Cancel", tooltip="Go on without sizes"),
    ]

    def __init__(self, scores: Path, model: str) -> None:
        """`model` is what the scores are called: a guess at the model's id."""
        super().__init__()
        self.scores = scores
        self._model = Input(printable(model), id="model", placeholder="folder, or org/name")
        self._model.compact = True
        self._state = Static(markup=False, id="state")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Which model are these scores of?"
            dialog.border_subtitle = "enter reads its headers, esc cancels"
            yield Static(_ABOUT, markup=False, id="about")
            yield self._model
            yield self._state
        yield KeyFooter()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._state.update("")

    @on(Input.Submitted)
    def _ask(self, event: Input.Submitted) -> None:
        if model := event.value.strip():
            # What is typed now would be half for this field and half for the screen that comes.
            self._model.disabled = True
            said = f"Reading {printable(model)} … other keys wait for it, esc cancels"
            self._state.update(Content.styled(said, MUTED))
            self.post_message(SizesRequested(self.scores, model))

    def refuse(self, text: str) -> None:
        """Say why there are no sizes."""
        self._model.disabled = False
        self._model.focus()
        self._state.update(Content.styled(printable(f"✗ {text}"), "$error"))


def likely_id(name: str) -> str:
    """Return the id that a score file's name is likely to stand for.

    >>> likely_id("Qwen-Qwen2-7B"), likely_id("org/name"), likely_id("tiny")
    ('Qwen/Qwen2-7B', 'org/name', 'tiny')
    """
    return name if "/" in name else name.replace("-", "/", 1)
