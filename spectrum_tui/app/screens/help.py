"""What a screen is for and every key that works on it, made from the bindings themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.tasks import EVERYWHERE, HEADINGS, heading_of
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.line_view import TextScroll

PURPOSES = {
    "SetupScreen": (
        "Say which model to look at: a folder with safetensors files, a Hugging Face id, or "
        "an address (https://, s3://, gs://, az://). "
        "Enter reads the headers only; then you see what it is and whether it must be downloaded. "
        "Arrow down from the model field reaches local models, earlier scores and the demo."
    ),
    "LayersScreen": (
        "Choose the layer types to score. Layers compete only with layers of their own type, so a "
        "type that is left out changes nothing for the others. Norms start unchecked: a weight of "
        "one dimension always scores 1.0."
    ),
    "ScanScreen": (
        "Every matrix gets a signal-to-noise ratio; each score is on disk before it is shown. "
        "Stop whenever you like: the next scan continues from there. The time left is estimated "
        "from the work of the remaining matrices, not from their number."
    ),
    "AuditScreen": (
        "The defects of a recipe, line by line: lines that match nothing, or more than they say, "
        "in one trainer or another. If you give the model, the matches of every line and every "
        "trainer are counted. The corrected file names each parameter in full, which all "
        "trainers read alike."
    ),
    "ResultsScreen": (
        "Layer types by depth: the colour is the score, the mark what trains. The percentage "
        "selects the best layers of every type, and everything follows it: how many parameters "
        "would train, the memory for it, and the YAML. Save writes the file that your trainer "
        "reads."
    ),
    "CompareScreen": (
        "Two rankings of the same layers, A and B. Spearman's rho is 1 if both have the layers "
        "of a type in the same order, 0 if the orders are unrelated. At the slider's percentage, "
        "each bar is the share of layers selected by both among those selected by either. Below "
        "are the layers that moved farthest, from their rank in A (○) to that in B (●), with the "
        "highest score on the left, or a map of the selections: what only A (<), only B (>) or "
        "both (●) select of each type, block by block."
    ),
    "FilmScreen": (
        "A training run: which layers the percentage selects by the scores of each step, against "
        "those of the first one. ● stays selected, > has entered since then, < has left. Space "
        "plays the run, the arrows step through it; tab gives them to the percentage."
    ),
    "LibraryScreen": (
        "Every score file that was scanned or opened on this machine, whatever folder it lies in, "
        "the last used first. Space marks two of them, A and B, and o compares them. A note tells "
        "one scan from another. A file that is no longer there is marked ✗; removing an entry "
        "leaves its file alone."
    ),
    "MemoryScreen": (
        "The memory to train the selection on each GPU, for seven ways to train. Parameters are "
        "counted exactly; activations are an estimate. Type the GB of one GPU and press enter: "
        "the slider goes to the highest percentage that fits, or you see what else would."
    ),
}
"""What each screen is for, by the name of its class."""


BUILT_IN = {
    "app.focus_next": ("Next", "To the next field or list"),
    "app.focus_previous": ("Previous", "To the previous field or list"),
    "screen.copy_text": ("Copy text", "Copy the text selected with the mouse"),
    "command_palette": ("Commands", "Search all commands"),
    "press": ("Press", "Press the button"),
    "show_overlay": ("Open", "Open the list"),
}
"""Textual's own keys that are worth telling; it has no tooltips for them."""


TWO_FROM = 140
"""Cells of width from which the keys stand in two columns."""


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """The keys of one action, as shown, with what it does, under the heading that it belongs to."""

    keys: str
    description: str
    tooltip: str
    heading: str


def purpose_of(screen: Screen[Any]) -> str:
    return PURPOSES.get(type(screen).__name__, "")


def keys_of(app: App[Any], screen: Screen[Any]) -> list[KeyHelp]:
    """Every described binding that is active on this screen, one entry for each action, in the
    order of the headings."""
    found: dict[tuple[object, str], tuple[list[str], KeyHelp]] = {}
    for node, binding, _, _ in screen.active_bindings.values():
        heading = heading_of(binding, node, screen)
        if node is app or binding.action in BUILT_IN:
            heading = EVERYWHERE
        entry = BUILT_IN.get(binding.action) or (binding.description, binding.tooltip)
        if all(entry):
            keys, _ = found.setdefault(
                (node, binding.action), ([], KeyHelp("", *entry, heading=heading))
            )
            # Each key under its own action: the footer writes those of several as one.
            keys.append(app.get_key_display(replace(binding, key_display=None)))
    told = [replace(entry, keys=", ".join(dict.fromkeys(keys))) for keys, entry in found.values()]
    return sorted(told, key=lambda entry: HEADINGS.index(entry.heading))


class KeyTable(Widget):
    """Keys, what they do, and what that is for, under headings.

    One widget, not one for each cell: 80 of them took a third of a second to appear.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key", "keys--more", "keys--heading"}
    DEFAULT_CSS = """
    KeyTable {
        height: auto;
        & > .keys--key { color: $accent; text-style: bold; }
        & > .keys--heading { color: $primary; text-style: bold; }
        & > .keys--more { color: $foreground 70%; }
    }
    """

    def __init__(self, keys: Sequence[KeyHelp]) -> None:
        super().__init__()
        self._keys = keys

    def render(self) -> Table | Group:
        """Return the table, its last column wrapped where it must be; where there is room, in two
        halves beside each other."""
        if self.size.width < TWO_FROM:
            return self._table(self._keys)
        both = Table.grid(padding=(0, 4, 0, 0), expand=True)
        both.add_column(ratio=1)
        both.add_column(ratio=1)
        both.add_row(*map(self._table, self._halves()))
        return both

    def _halves(self) -> tuple[Sequence[KeyHelp], Sequence[KeyHelp]]:
        """Divide the keys at the heading that leaves the longer part shortest."""
        keys = self._keys
        starts = [i for i, key in enumerate(keys) if not i or key.heading != keys[i - 1].heading]
        at = min(starts, key=lambda i: max(i, len(keys) - i), default=0)
        return keys[:at], keys[at:]

    def _table(self, keys: Sequence[KeyHelp]) -> Group:
        width = max((cell_len(key.keys) for key in self._keys), default=0)
        styles = [self.get_component_rich_style(f"keys--{part}") for part in ("key", "more")]
        lines: list[Text | Table] = []
        for heading, group in groupby(keys, key=lambda key: key.heading):
            table = Table.grid(padding=(0, 2, 0, 0), expand=True)
            table.add_column(style=styles[0], width=min(width, 16))
            table.add_column(width=16)
            table.add_column(style=styles[1], ratio=1)
            for key in group:
                table.add_row(Text(key.keys), Text(key.description), Text(key.tooltip))
            lines += [
                Text(""),
                Text(heading, self.get_component_rich_style("keys--heading")),
                table,
            ]
        return Group(*lines[1:])


class HelpScreen(Dialog[None]):
    """A paragraph, then the keys; escape, F1 or ? closes it."""

    DEFAULT_CSS = """
    HelpScreen {
        & > Vertical { width: 96%; max-width: 180; height: auto; max-height: 100%; padding: 0 2; }
        & #purpose { margin: 0 0 1 0; }
        & TextScroll { height: auto; max-height: 16; scrollbar-size: 1 1; }
        &.-tall TextScroll { max-height: 30; }
        &.-high TextScroll { max-height: 42; }
    }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (40, "-tall"), (50, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,q", "dismiss", "Close", tooltip="Close the help"),
        hidden_key("up,k", "scroll(-1)", "Up", "One line up"),
        hidden_key("down,j", "scroll(1)", "Down", "One line down"),
        hidden_key("pageup", "scroll(-10)", "Page up", "Ten lines up"),
        hidden_key("pagedown,space", "scroll(10)", "Page down", "Ten lines down"),
        hidden_key("home", "scroll(-1000)", "Start", "To the first key"),
        hidden_key("end", "scroll(1000)", "End", "To the last key"),
    ]

    def __init__(self, purpose: str, keys: Iterable[KeyHelp]) -> None:
        super().__init__()
        self._purpose = purpose
        self._keys = list(keys)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            if self._purpose:
                yield Static(self._purpose, markup=False, id="purpose")
            with TextScroll(can_focus=False):
                yield KeyTable(self._keys)

    def action_scroll(self, lines: int) -> None:
        self.query_one(TextScroll).scroll_relative(y=lines, animate=False)
