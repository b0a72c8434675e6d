"""Which model is scanned after the others: typed, completed, or chosen from a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from spectrum_tui.app.messages import CheckRequested
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.app.widgets.model_suggester import ModelSuggester
from spectrum_tui.core.model.folders import Folder
from spectrum_tui.core.requests import ModelSummary, Suggestions
from spectrum_tui.core.settings import DEMO, RECIPES

NO_MODEL = "This is no model. The screens Model and Scan open score files (ctrl+l)."


class AddModelScreen(Dialog[ModelSummary | None]):
    """Dismissed with what the headers tell of the model, or None when cancelled."""

    DEFAULT_CSS = """
    AddModelScreen > #dialog {
        width: 90%; max-width: 100; height: 80%; max-height: 24; padding: 0 1;
        & > #model { background: $panel; padding: 0 1; }
        & > #state { height: auto; margin: 0 0 1 0; }
        & > #choices {
            height: 1fr; border: none; padding: 0; text-wrap: nowrap; text-overflow: ellipsis;
        }
    }
    """
    AUTO_FOCUS = "#model"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", key_display="esc", tooltip="Add no model"),
        hidden_key("down", "choices", "Choices", "From the model field to the list"),
    ]

    def __init__(
        self,
        suggestions: Suggestions,
        refusal: Callable[[ModelSummary], str],
        *,
        types: str = "",
    ) -> None:
        """`refusal` says why a model cannot be added, "" if it can; `types` say which of it are
        scanned."""
        super().__init__()
        self._suggestions = replace(suggestions, results=())
        self._refusal = refusal
        self._asked = ""
        self._suggester = ModelSuggester(self._list_folders)
        self._suggester.known = [*suggestions.models, DEMO]
        self._model = Input(
            id="model", placeholder="folder, or org/name", suggester=self._suggester, compact=True
        )
        self._types = Content.styled(printable(types), MUTED)
        self._state = Static(self._types, markup=False, id="state")
        self._choices = ModelChoices(id="choices")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Scan which model after this one?"
            dialog.border_subtitle = "enter adds it, ↓ to the list"
            yield self._model
            yield self._state
            yield self._choices
        yield KeyFooter()

    def on_mount(self) -> None:
        self._choices.suggest(self._suggestions)

    def _list_folders(self, typed: str, folders: tuple[Folder, ...]) -> None:
        if typed == self._model.value:  # else more was typed meanwhile
            self._choices.show_folders(folders)

    # -- answers ------------------------------------------------------------------------------

    def show_summary(self, summary: ModelSummary) -> None:
        """Take the model that was asked for, unless something else was typed meanwhile."""
        if summary.model != self._asked:
            return
        if said := self._refusal(summary):
            self.refuse(said)
        else:
            by_itself(self)
            self.dismiss(summary)

    def show_notice(self, text: str) -> None:
        """Say what is waited for."""
        if self._asked:
            self._state.update(Content.styled(printable(text), MUTED))

    def refuse(self, text: str) -> None:
        """Say why this model cannot be added."""
        if self._asked:
            self._asked = ""
            self._state.update(Content.styled(printable(f"✗ {text}"), "$error"))
            self._model.focus()

    # -- what the user does -------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if event.value != self._asked:
            self._asked = ""
            self._state.update(self._types)
        self._choices.narrow(event.value.strip())

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._ask(event.value)

    @on(ModelChoices.ModelChosen)
    def _chosen(self, event: ModelChoices.ModelChosen) -> None:
        self._write(event.model)
        self._ask(event.model)

    @on(ModelChoices.FolderChosen)
    def _go_on_in(self, event: ModelChoices.FolderChosen) -> None:
        self._write(event.path)

    def _write(self, text: str) -> None:
        self._model.value = text
        self._model.cursor_position = len(text)

    def _ask(self, model: str) -> None:
        if not model.strip() or model == self._asked:  # a second enter would only begin anew
            return
        self._asked = model
        if model.rstrip().endswith((".json", *RECIPES)):
            self.refuse(NO_MODEL)
            return
        self._state.update(Content.styled(f"Reading the headers of {printable(model)} …", MUTED))
        self.post_message(CheckRequested(model))

    def action_choices(self) -> None:
        self._choices.focus()

    def action_cancel(self) -> None:
        """Back to the field from the list, and from the field to the scan."""
        if self._choices.has_focus:
            self._model.focus()
        else:
            self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "choices" or self._model.has_focus
