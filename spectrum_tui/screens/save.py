"""The save dialog: which files, where, what they replace, and what went wrong if it did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, Static

from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.files import OutputFiles, check_writable, output_folder, slug, write_text
from spectrum_tui.core.results import Result
from spectrum_tui.screens.dialog import Dialog
from spectrum_tui.widgets.cells import printable


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that saving would write."""

    path: Path
    exists: bool


def planned_files(
    result: Result, folder: Path, percent: int, *, with_scores: bool
) -> list[PlannedFile]:
    """The files that saving writes, the YAML first, and which of them are there already."""
    files = _files(result, folder)
    paths = [files.recipe(percent)]
    if with_scores:
        paths += [files.scores, files.sorted_scores]
    return [PlannedFile(path, path.exists()) for path in paths]


def _files(result: Result, folder: Path) -> OutputFiles:
    return OutputFiles(folder, slug(result.provenance.model), result.provenance.metric)


def write_files(
    result: Result, folder: Path, percent: int, yaml_text: str, *, with_scores: bool
) -> Path:
    """Write them, the YAML last, so that it is there only if all went well; returns its path."""
    from spectrum_tui.core.store import save_scores

    check_writable(folder)
    if with_scores:
        save_scores(result, folder)
    path = _files(result, folder).recipe(percent)
    write_text(path, yaml_text)
    return path


class SaveScreen(Dialog[Path | None]):
    """Asks where to save; dismissed with the path of the YAML, or None when cancelled."""

    DEFAULT_CSS = """
    SaveScreen {
        & > #dialog {
            width: 100%;
            max-width: 100;
            height: auto;
            max-height: 100%;
            & > Label { color: $foreground 70%; }
            & > #folder { background: $panel; padding: 0 1; margin: 0 0 1 0; }
            & > #scores { border: none; padding: 0; background: $surface; }
            & > #files { height: auto; margin: 1 0 0 0; }
            & > #error { height: auto; display: none; color: $error; margin: 1 0 0 0; }
            & > #error.-shown { display: block; }
            & > #buttons {
                height: auto;
                margin: 1 0 0 0;
                align-horizontal: right;
                & > Button { margin: 0 0 0 2; }
            }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", tooltip="Write nothing"),
        Binding("ctrl+s", "save", "Save", tooltip="Write the files that are listed"),
    ]

    def __init__(
        self, result: Result, percent: int, text: Callable[[], str], output_dir: str
    ) -> None:
        """`text` gives the YAML, or raises SpectrumError where it must not be written."""
        super().__init__()
        self.result = result
        self.percent = percent
        self._text = text
        self._folder = Input(output_dir, id="folder", select_on_focus=False, compact=True)
        own = bool(result.provenance.version)
        self._scores = Checkbox("Also the scores (two JSON files)", own, id="scores")
        self._files = Static(markup=False, id="files")
        self._error = Static(markup=False, id="error")
        self._button = Button("Save", variant="primary", id="save", compact=True)

    def compose(self) -> ComposeResult:
        """Folder, what will be written, buttons."""
        with Vertical(id="dialog") as dialog:
            dialog.border_title = f"Save the top {self.percent} %"
            dialog.border_subtitle = "enter saves, esc cancels"
            yield Label(f"Folder, relative to {Path.cwd()}", markup=False)
            yield self._folder
            yield self._scores
            yield self._files
            yield self._error
            with Horizontal(id="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield self._button

    def on_mount(self) -> None:
        """The folder is what may need a change."""
        self._folder.focus()
        self._look()

    @property
    def folder(self) -> Path:
        """The folder as typed; empty is the current one."""
        return output_folder(self._folder.value.strip())

    def on_resize(self) -> None:
        """Long names are folded at the width."""
        self.call_after_refresh(self._plan)

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def _look(self) -> None:
        self._error.remove_class("-shown")
        self._plan()

    @work(exclusive=True, group="plan")
    async def _plan(self) -> None:
        try:
            files = await asyncio.to_thread(
                planned_files,
                self.result,
                self.folder,
                self.percent,
                with_scores=self._scores.value,
            )
        except (OSError, RuntimeError, ValueError):  # a path that no system call takes
            files = []
        self._files.update(_listing(files, self.folder, self._files.size.width))

    @on(Input.Submitted)
    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Write, unless that is already under way."""
        if not self._button.disabled:
            self._button.disabled = True
            self._write()

    @work(group="write")
    async def _write(self) -> None:
        try:
            path = await asyncio.to_thread(
                write_files,
                self.result,
                self.folder,
                self.percent,
                self._text(),
                with_scores=self._scores.value,
            )
        except SpectrumError as error:
            self._refuse(error.message, error.hint)
        except (OSError, RuntimeError, ValueError) as error:
            self._refuse(f"Cannot use this folder: {error}.", "Choose another one.")
        else:
            self.dismiss(path)

    def _refuse(self, message: str, hint: str) -> None:
        self._error.update(printable(f"✗ {message} {hint}".strip()))
        self._error.add_class("-shown")
        self._button.disabled = False
        self._plan()

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        """Write nothing."""
        self.dismiss(None)


def _listing(files: list[PlannedFile], folder: Path, width: int) -> Content:
    """One line a file, long names going on below their beginning."""
    lines = []
    for file in files:
        name = printable(str(file.path.relative_to(folder)))
        state = ("replaces ", "$warning") if file.exists else ("new      ", "$success")
        room = max(10, width - len(state[0]))
        first, *rest = [name[at : at + room] for at in range(0, len(name), room)]
        lines.append(Content.assemble(state, (first, "$foreground")))
        lines += [Content.styled(" " * len(state[0]) + part, "$foreground") for part in rest]
    return Content("\n").join(lines)
