"""Where to write one file: a field, and whether that replaces something."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.files import output_folder, write_text


class WriteScreen(Dialog[Path | None]):
    """Dismissed with the path that was written, or None when cancelled."""

    DEFAULT_CSS = """
    WriteScreen > #dialog {
        width: 90%; max-width: 100; height: auto;
        & > #path { background: $panel; padding: 0 1; }
        & > Static { height: auto; margin: 1 0 0 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", key_display="esc", tooltip="Write nothing"),
        Binding("ctrl+s", "write", "Write", tooltip="Write the file"),
    ]

    def __init__(self, path: Path, text: str) -> None:
        super().__init__()
        self._text = text
        self._path = Input(str(path), id="path", select_on_focus=False, compact=True)
        self._state = Static(markup=False, id="state")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Write the corrected file"
            dialog.border_subtitle = "enter writes, esc cancels"
            yield self._path
            yield self._state
        yield KeyFooter()

    @property
    def path(self) -> Path:
        return output_folder(self._path.value.strip())

    @on(Input.Changed)
    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            exists = await asyncio.to_thread(self.path.exists)
        except (OSError, ValueError):
            exists = False
        state = ("replaces a file", "$warning") if exists else ("a new file", "$success")
        self._state.update(Content.styled(*state))

    @on(Input.Submitted)
    def action_write(self) -> None:
        self._write()

    @work(exclusive=True, group=KEYS_WAIT)
    async def _write(self) -> None:
        path = self.path
        self.workers.cancel_group(self, "look")  # else it may say "a new file" over an error
        try:
            await asyncio.to_thread(write_text, path, self._text)
        except SpectrumError as error:
            self._state.update(Content.styled(printable(f"✗ {error}"), "$error"))
        except (OSError, ValueError) as error:
            words = f"✗ Cannot write there: {error}."
            self._state.update(Content.styled(printable(words), "$error"))
        else:
            self.dismiss(path)
