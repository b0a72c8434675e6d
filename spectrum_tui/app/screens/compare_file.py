"""Asks for the scores to compare with: typed, or picked among those in the output folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.compare import CompareScreen
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.core.comparison.compare import Comparison, compare
from spectrum_tui.core.errors import ResultsError, SpectrumError
from spectrum_tui.core.files import newest_first, output_folder
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import load_result

MOST_FILES = 50
"""How many files are offered, the newest ones."""


def score_files(folder: Path, own: str) -> list[Path]:
    """Return the score files in an output folder, newest first, without the one that is open."""
    found = [*folder.glob("model_snr_results/*.json"), *folder.glob("snr_results_*.json")]
    others = [path for path in found if path != Path(own)]
    return newest_first(path for path in others if not path.stem.endswith("_sorted"))[:MOST_FILES]


def compared(a: Result, path: str) -> Comparison:
    """Return the comparison with a file, all of it worked out; raises SpectrumError."""
    try:
        comparison = compare(a, load_result(output_folder(path)))
        comparison.work_out()
        return comparison
    except (OSError, ValueError) as exc:  # a path that no system call takes
        raise ResultsError(f"{path} cannot be read ({exc}).", "Check the path.") from None


class CompareFileScreen(Dialog[None]):
    """Gives way to the comparison once the file is read."""

    DEFAULT_CSS = """
    CompareFileScreen {
        & > #dialog {
            width: 100%;
            max-width: 100;
            height: auto;
            max-height: 100%;
            & > Label { width: 100%; color: $foreground 70%; }
            & > #path { background: $panel; padding: 0 1; margin: 0 0 1 0; }
            & > #files {
                height: auto; max-height: 12; border: none; padding: 0; background: $surface;
                text-wrap: nowrap; text-overflow: ellipsis;
            }
            & > #error { height: auto; display: none; color: $error; margin: 1 0 0 0; }
            & > #error.-shown { display: block; }
        }
    }
    """
    AUTO_FOCUS = "#path"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", tooltip="Do not compare"),
        hidden_key("down", "files", "Files", "From the field to the list"),
    ]

    def __init__(self, result: Result, policy: Policy, output_dir: str) -> None:
        super().__init__()
        self._result, self._policy = result, policy
        self._folder = output_folder(output_dir)
        self._dialog = Vertical(id="dialog")
        self._path = Input(id="path", placeholder="a scores .json", compact=True)
        self._files = OptionList(id="files", compact=True, markup=False)
        self._label = Label("Or one from the output folder, newest first", markup=False)
        self._error = Static(markup=False, id="error")
        self._offered: list[Path] = []

    def compose(self) -> ComposeResult:
        with self._dialog:
            self._dialog.border_title = "Compare with other scores"
            self._dialog.border_subtitle = "enter compares, esc cancels"
            yield Label("Scores of a fine-tuned model, another version or another tool")
            yield self._path
            yield self._label
            yield self._files
            yield self._error
        yield KeyFooter()

    def on_mount(self) -> None:
        self._list()

    def _take_keys(self, *, take: bool) -> None:
        """Take what is typed or picked, or let it go by while a file is read."""
        self._path.disabled = self._files.disabled = not take
        said = "enter compares" if take else "reading, other keys wait for it"
        self._dialog.border_subtitle = f"{said}, esc cancels"

    @work(group=KEYS_WAIT)
    async def _list(self) -> None:
        try:
            found = await asyncio.to_thread(score_files, self._folder, self._result.source)
        except (OSError, ValueError):
            found = []
        self._offered = found
        self._files.add_options([Option(printable(path.name)) for path in found])
        self._files.display = self._label.display = bool(found)

    def action_files(self) -> None:
        if self._offered:
            self._files.focus()
            self._files.highlighted = self._files.highlighted or 0

    @on(Input.Changed)
    def _typed(self) -> None:
        self._error.remove_class("-shown")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._open(event.value.strip())

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        self._open(str(self._offered[event.option_index]))

    @work(exclusive=True, group=KEYS_WAIT)
    async def _open(self, path: str) -> None:
        focused = self.focused
        self._take_keys(take=False)  # half of them would be for this, half for what comes
        try:
            comparison = await asyncio.to_thread(compared, self._result, path)
        except SpectrumError as error:
            self._take_keys(take=True)
            self.set_focus(focused)
            self._error.update(printable(f"✗ {error}"))
            self._error.add_class("-shown")
            return
        self.app.switch_screen(CompareScreen(comparison, self._policy, str(self._folder)))
