"""The library: every score file that was scanned or opened on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.messages import CompareRequested, OpenRequested
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.note import NoteScreen
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import keep_end, printable
from spectrum_tui.app.widgets.filter_line import FilterInput, FilterLine
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.layer_facts import whole
from spectrum_tui.app.widgets.library_table import LibraryTable
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.saved import library
from spectrum_tui.core.saved.library import Entry
from spectrum_tui.core.settings import Settings

EMPTY = "No scores yet. Scan a model, or open a score file:\nit is listed here from then on."
STAYS = "Only the entry is removed: the score file stays where it is."
OF_AN_ENTRY = ("open", "mark", "note", "remove")
"""Actions that need an entry under the cursor."""


class LibraryScreen(NamedKeys, Screen[None]):
    """The table, with the facts of the current entry below it; files are read in threads."""

    AUTO_FOCUS = "LibraryTable"
    DEFAULT_CSS = """
    LibraryScreen {
        & > #totals { padding: 0 1; }
        & > #facts {
            height: 2; padding: 0 1; background: $boost; color: $foreground 75%;
            text-wrap: nowrap; text-overflow: ellipsis;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", tooltip="Open these scores"),
        Binding("space", "mark", "Mark", tooltip="Mark as A or B, or no longer"),
        Binding("o", "compare", "Compare", tooltip="Compare A with B, or with this entry"),
        Binding("n", "note", "Note", tooltip="Write a note to this entry"),
        hidden_key("delete,minus", "remove", "Remove", "Forget this entry; its file stays"),
        Binding("slash", "filter", "Search", key_display="/", tooltip="Part of a name or path"),
        hidden_key("s", "in_table('sort')", "Sort", "Sort by last use, model, scan or layers"),
        hidden_key("S", "in_table('reverse')", "Reverse", "Reverse the order"),
        Binding(
            "escape", "back", "Back", key_display="esc", tooltip="Clear the search, or go back"
        ),
    ]

    def __init__(self, settings: Settings) -> None:
        """Files are opened with these settings."""
        super().__init__()
        self.settings = settings
        self.table = LibraryTable()
        self.totals = TotalsLine(id="totals")
        self._filter = FilterLine(
            "part of a model, note or path", self.table.narrow, self.table.focus
        )
        self._facts = Static(markup=False, id="facts")
        self._reads = 0

    def compose(self) -> ComposeResult:
        yield StepBar(0, "library")
        yield self.totals
        yield self._filter
        yield self.table
        yield self._facts
        yield KeyFooter()

    def on_screen_resume(self) -> None:
        """Read the library: at first, and when what was opened from here is closed."""
        self._read()

    # -- reading ------------------------------------------------------------------------------

    @work(group=KEYS_WAIT)
    async def _read(self) -> None:
        self._reads += 1
        mine = self._reads
        entries = await asyncio.to_thread(library.entries)
        if mine == self._reads:  # else a later look is under way, which may see a change
            self.table.show_entries(entries)
            self._look_for_files(entries)

    @work(exclusive=True, group="files")
    async def _look_for_files(self, entries: Sequence[Entry]) -> None:
        """Find out which files are gone; a slow disk delays the marks, not the table."""
        self.table.show_gone(await asyncio.to_thread(_gone, entries))

    @work(group=KEYS_WAIT)
    async def _change(self, change: Callable[[], object]) -> None:
        try:
            await asyncio.to_thread(change)
        except SpectrumError as error:
            self._warn(str(error))
        self._read()

    # -- what is shown ------------------------------------------------------------------------

    @on(LibraryTable.Changed)
    @on(LibraryTable.CursorMoved)
    def _show(self) -> None:
        table = self.table
        order = f"{table.sort}{', reversed' if table.reverse else ''}"
        marked = table.marked_entries
        names = (f"{label} {printable(e.model)}" for label, e in zip("AB", marked, strict=False))
        files = counted(len(table.entries), "score file")
        self.totals.show(f"{files}, by {order}", "   ".join(names))
        self._facts.update(self._facts_of(table.current))
        self.refresh_bindings()

    def on_resize(self) -> None:
        self._facts.update(self._facts_of(self.table.current))

    def _facts_of(self, entry: Entry | None) -> Content:
        """Return where the file is, and what else is known of it."""
        if entry is None:
            return Content("Nothing contains this text." if self.table.entries else EMPTY)
        gone = entry.path in self.table.gone
        room = max(10, self.size.width - (9 if gone else 2))
        path = keep_end(entry.path, room)
        where = Content.assemble(("✗ gone ", "$warning") if gone else "", path.rstrip())
        about = whole(map(printable, _about(entry)), self.size.width - 2)
        return Content("\n").join([where, about.stylize(MUTED)])

    # -- keys ---------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if isinstance(self.focused, FilterInput):
            return action == "back"  # every other key is text for the search
        if action in OF_AN_ENTRY:
            return self.table.current is not None
        return bool(self.table.entries) if action in ("compare", "filter", "in_table") else True

    def action_open(self) -> None:
        if (entry := self.table.current) is not None:
            self.post_message(OpenRequested(Path(entry.path), self.settings))

    def action_mark(self) -> None:
        self.table.mark()

    def action_compare(self) -> None:
        """Compare the two that are marked; the current one is the second where only one is."""
        paths = list(self.table.marked)
        entry = self.table.current
        if len(paths) == 1 and entry is not None and entry.path not in paths:
            paths.append(entry.path)
        if len(paths) < 2:
            self._warn("Mark two score files with space first.")
            return
        self.post_message(CompareRequested(Path(paths[0]), Path(paths[1]), self.settings))

    def action_note(self) -> None:
        if (entry := self.table.current) is not None:
            title = f"Note to {printable(entry.model)}"
            dialog = NoteScreen(title, printable(entry.note), library.LONGEST_NOTE)
            self.app.push_screen(dialog, partial(self._annotate, entry))

    def _annotate(self, entry: Entry, note: str | None) -> None:
        if note is not None:
            self._change(partial(library.annotate, entry, note))

    def action_remove(self) -> None:
        if (entry := self.table.current) is not None:
            detail = f"{printable(entry.model)}. {STAYS}"
            dialog = ConfirmScreen("Remove from the library?", detail, "Remove", "Keep")
            self.app.push_screen(dialog, partial(self._remove, entry))

    def _remove(self, entry: Entry, sure: bool | None) -> None:
        if sure:
            self._change(partial(library.remove, entry))

    async def action_in_table(self, action: str) -> None:
        await self.table.run_action(action)

    def action_filter(self) -> None:
        self._filter.open()

    def action_back(self) -> None:
        if self._filter.is_open:
            self._filter.close()
        else:
            self.dismiss()

    def _warn(self, text: str) -> None:
        self.notify(text, title="Library", severity="warning", markup=False)


def _gone(entries: Sequence[Entry]) -> set[str]:
    return {entry.path for entry in entries if entry.is_gone}


def _about(entry: Entry) -> list[str]:
    """Return `scanned 2026-11-29 on cuda:0, fast`, `commit 0123456789ab`, `2 failed`."""
    how = ", ".join(filter(None, (entry.device, entry.precision)))
    scanned = f"scanned {entry.finished}" if entry.finished else "no record of its scan"
    parts = [f"{scanned} on {how}" if how else scanned]
    parts += [f"commit {entry.revision[:12]}"] if entry.revision else []
    parts += ["stopped before its end"] if not entry.complete else []
    parts += [f"{entry.failed:,} failed"] if entry.failed else []
    return [*parts, entry.note] if entry.note else parts
