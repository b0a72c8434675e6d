"""What can be opened without typing: local models, earlier scores, the demonstration model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.model_suggester import path_to_go_on
from spectrum_tui.core.model.folders import Folder, completing
from spectrum_tui.core.requests import Suggestions
from spectrum_tui.core.settings import DEMO


class ModelChoices(OptionList):
    """A list of `Suggestions`, narrowed by what is typed in the model field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("enter", "select", "Choose", "Use the marked line"),
        hidden_key("j", "cursor_down", "Down", "One line down"),
        hidden_key("k", "cursor_up", "Up", "One line up"),
    ]

    @dataclass
    class ModelChosen(Message):
        """A model's name was picked."""

        model: str

    @dataclass
    class FolderChosen(Message):
        """A folder was picked that holds no model itself: its path, to go on from."""

        path: str

    @dataclass
    class ResultChosen(Message):
        """A file of saved scores was picked."""

        path: Path

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self._suggestions = Suggestions((), ())
        self._folders: tuple[Folder, ...] = ()
        self._filter = ""
        self._shown: list[tuple[str, str]] = []

    def on_mount(self) -> None:
        """List the demonstration model before the worker says anything."""
        self._fill()

    def on_focus(self) -> None:
        """Enter takes the first line at once."""
        if self.highlighted is None:
            self.highlighted = 0

    def suggest(self, suggestions: Suggestions) -> None:
        self._suggestions = suggestions
        self._fill()

    def narrow(self, text: str) -> None:
        """Show only what contains this text; everything where nothing does."""
        if text.lower() != self._filter:
            self._filter = text.lower()
            self._folders = completing(text, self._folders) if text else ()
            self._fill()

    def show_folders(self, folders: tuple[Folder, ...]) -> None:
        """Put folders in front, those that hold a model marked."""
        if folders != self._folders:
            self._folders = folders
            self._fill()
            if self.has_focus and self.highlighted is None:
                self.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        kind, value = self._shown[event.option_index]
        if kind == "scores":
            self.post_message(self.ResultChosen(Path(value)))
        elif kind == "folder":
            self.post_message(self.FolderChosen(value))
        else:
            self.post_message(self.ModelChosen(value))

    def _fill(self) -> None:
        everything = [
            *(("model", model) for model in self._suggestions.models),
            *(("scores", path) for path in self._suggestions.results),
            ("demo", DEMO),
        ]
        names = [value.lower() for _, value in everything]
        matching = [(kind, name) for kind, name in everything if self._filter in name.lower()]
        folders = [
            ("model folder" if one.holds_model else "folder", path_to_go_on(one))
            for one in self._folders
        ]
        all_of_it = not (matching or folders) or self._filter in names
        shown = folders + (everything if all_of_it else matching)
        if shown != self._shown or not self.option_count:
            self._shown = shown
            self.clear_options()
            self.add_options([Option(_line(kind, value)) for kind, value in shown])


def _line(kind: str, value: str) -> Content:
    if kind == "demo":
        text, note = value, "demonstration model, no download"
    elif kind == "scores":
        path = Path(value)
        folder = path.parent.parent if path.parent.name == "model_snr_results" else path.parent
        text, note = path.stem.removeprefix("snr_results_"), f"in {folder}"
    else:
        text, note = value, ""
    label = "local model" if kind == "model" else kind
    dim = MUTED
    return Content.assemble((f"{label:<13}", dim), Content(text), (f"  {note}", dim))
