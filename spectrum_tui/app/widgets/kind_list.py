"""The kinds of recipe to choose from, one a line with what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.core.recipes.choice import RecipeKind


class KindList(OptionList):
    """Up and down choose; enter is left to the dialog, which saves."""

    @dataclass
    class Chosen(Message):
        """Another kind is chosen."""

        kind: RecipeKind

    DEFAULT_CSS = """
    KindList {
        height: auto;
        border: none;
        padding: 0;
        background: $surface;
        scrollbar-size-vertical: 1;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        & > .option-list--option { padding: 0; }
        & > .option-list--option-highlighted { background: $panel; text-style: none; }
        &:focus { border: none; background: $surface; background-tint: transparent; }
        &:focus > .option-list--option-highlighted {
            color: $foreground;
            background: $accent 30%;
            text-style: none;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # Without these, the list would begin again at its other end.
        hidden_key("up", "screen.kind(-1)", "Previous kind", "The kind above"),
        hidden_key("down", "screen.kind(1)", "Next kind", "The kind below"),
        hidden_key("enter", "screen.save", "Save", "Write the listed files"),
        hidden_key("pageup", "screen.details(-1)", "Up", "Up in the files"),
        hidden_key("pagedown", "screen.details(1)", "Down", "Down in the files"),
    ]

    def __init__(self, kinds: Sequence[RecipeKind], chosen: RecipeKind) -> None:
        self._kinds = tuple(kinds)
        self._titles = max(len(kind.title) for kind in kinds)
        self._first = self._marked = chosen
        super().__init__(*(Option(self._line(kind)) for kind in kinds), id="kinds", markup=False)

    def on_mount(self) -> None:
        self.highlighted = self._kinds.index(self._first)

    @property
    def kind(self) -> RecipeKind:
        """The kind that is chosen: that under the cursor, also while its message is on its way."""
        return self._first if self.highlighted is None else self._kinds[self.highlighted]

    def step(self, by: int) -> None:
        """Choose a neighbour, from wherever the focus is."""
        at = self._kinds.index(self.kind) + by
        self.highlighted = min(max(at, 0), len(self._kinds) - 1)

    @on(OptionList.OptionHighlighted)
    def _choose(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        before, self._marked = self._marked, self.kind
        if self.kind is not before:
            for kind in (before, self.kind):
                self.replace_option_prompt_at_index(self._kinds.index(kind), self._line(kind))
            self.post_message(self.Chosen(self.kind))

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()

    def _line(self, kind: RecipeKind) -> Content:
        chosen = kind is self._marked
        return Content.assemble(
            ("● ", "$primary") if chosen else ("○ ", "$foreground 50%"),
            (f"{kind.title:<{self._titles}}  ", "bold" if chosen else ""),
            (kind.purpose, "$foreground 70%"),
        )
