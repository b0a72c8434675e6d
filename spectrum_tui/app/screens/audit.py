"""What is wrong with a recipe that somebody already has: findings, trainers, a corrected file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import Input, Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.loading import audited
from spectrum_tui.app.messages import NamesRequested, OpenRequested
from spectrum_tui.app.screens.audit_text import FindingTable, TrainerTable, meant_text, summary_text
from spectrum_tui.app.screens.write_file import WriteScreen
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.line_view import TextScroll
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.core.audit.audit import Audit
from spectrum_tui.core.errors import SpectrumError
from spectrum_tui.core.recipes.policy_line import policy_text, read_policy
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.saved import library
from spectrum_tui.core.settings import Settings

_HELP = "enter reads its headers"


class Findings(TextScroll):
    """The findings; they fold at the width, and scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("j", "scroll_down", "Down", "One line down"),
        hidden_key("k", "scroll_up", "Up", "One line up"),
    ]


class AuditScreen(NamedKeys, Screen[None]):
    """The file and its model above; the findings, and what each trainer would do."""

    AUTO_FOCUS = "Findings"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 (as in Textual)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 (as in Textual)
    DEFAULT_CSS = """
    AuditScreen {
        & > #header {
            height: auto; padding: 0 1;
            & > Static { height: auto; }
            & > #file { text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
            & > #summary { color: $foreground 80%; }
            & Field { grid-columns: 7 30 1fr; }
        }
        &.-tall > #header { padding: 1 2; & Field { margin: 1 0 0 0; } }
        &.-wide > #header Field { grid-columns: 7 50 1fr; }
        & > #body { height: 1fr; layout: vertical; }
        & .panel { scrollbar-size: 1 1; }
        & #findings-panel { height: 1fr; }
        & #trainers { height: 6; }
        &.-tall #trainers { height: 10; }
        &.-short.-unknown #trainers { display: none; }
        &.-wide > #body { layout: horizontal; }
        &.-wide #findings-panel { width: 1fr; height: 100%; }
        &.-wide #trainers { width: 54; height: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w,ctrl+s", "write", "Write corrected", tooltip="Write the corrected file"),
        Binding("o", "open", "Open selection", tooltip="Open the scores with what this selects"),
        Binding("m", "model", "Model", tooltip="Say which model the recipe is for"),
        Binding("escape", "back", "Back", key_display="esc", tooltip="Back to the first screen"),
    ]

    def __init__(
        self, path: Path, text: str, audit: Audit, settings: Settings | None = None
    ) -> None:
        """Scores are opened with these settings."""
        super().__init__()
        self._settings = settings or Settings()
        self.path, self.text, self.audit = path, text, audit
        self._reading = ""
        """The model that is being read."""
        self._is_taken_back = False
        self._model = Input(id="model", placeholder="folder or org/name", compact=True)
        self._field = Field("model", "Model", self._model, _HELP)
        self._summary = Static(markup=False, id="summary")
        self._meant = Static(markup=False, id="meant")
        self._findings = FindingTable(audit)
        self._trainers = TrainerTable(audit)

    def compose(self) -> ComposeResult:
        yield StepBar(0, "audit of a recipe")
        with Vertical(id="header"):
            yield Static(printable(str(self.path)), markup=False, id="file")
            yield self._summary
            yield self._meant
            yield self._field
        with Container(id="body"):
            with Findings(self._findings, id="findings-panel", classes="panel") as panel:
                panel.border_title = "Findings"
            with TextScroll(self._trainers, id="trainers", classes="panel") as panel:
                panel.border_title = "Trainers"
        yield KeyFooter()

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        found = self.audit
        self._summary.update(summary_text(found))
        self._meant.update(meant_text(found))
        self._findings.show(found)
        self._trainers.show(found)
        self.set_class(not found.reports, "-unknown")
        panel = self.query_one("#trainers")
        panel.border_title = "Outcome in each trainer" if found.reports else "How trainers match"
        self.refresh_bindings()

    # -- the model -----------------------------------------------------------------------------

    def action_model(self) -> None:
        self._model.focus()

    @on(Input.Submitted, "#model")
    def _submitted(self, event: Input.Submitted) -> None:
        model = event.value.strip()
        if model:
            self._reading, self._is_taken_back = model, False
            self._field.show_help(f"Reading the headers of {model} …")
            # What is pressed from now on is not meant for the field.
            self.query_one(Findings).focus()
            self.post_message(NamesRequested(model))

    @on(Input.Changed, "#model")
    def _typed(self, event: Input.Changed) -> None:
        """Take back a model that is read: it is no longer the one in the field."""
        self._is_taken_back = bool(self._reading) and event.value.strip() != self._reading
        if self._field.error or self._is_taken_back:
            self._field.show_help()

    @work(exclusive=True, group="audit")
    async def show_names(self, names: ModelNames) -> None:
        """Judge by the model's parameters, now that they are known."""
        if self._is_taken_back:
            return
        self._reading = ""
        try:
            self.audit = await asyncio.to_thread(audited, self.text, names)
        except SpectrumError as error:
            self._field.show_error(error.message, error.hint)
            return
        self._field.show_help(names.naming)
        self._show()

    def show_failure(self, message: str, hint: str) -> None:
        """Say at its field why a model cannot be read, to have it mended there."""
        if not self._is_taken_back:
            by_itself(self)
            self._reading = ""
            self._field.show_error(message, hint)
            self._model.focus()

    # -- the corrected file --------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "open":
            return policy_text(self.text.splitlines()) is not None
        return bool(self.audit.fixed and self.audit.defects) if action == "write" else True

    @work(group=KEYS_WAIT)
    async def action_open(self) -> None:
        """Open the scores of the recipe's model that are in the library, with its policy."""
        try:
            policy = await asyncio.to_thread(read_policy, self.path)
            entry = await asyncio.to_thread(library.entry_of, self.text)
        except SpectrumError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        if entry is None:
            said = "No scores of its model are in the library: open a score file with --policy."
            self.notify(said, title="Scores not found", severity="warning", markup=False)
            return
        settings = replace(self._settings, **policy)
        self.post_message(OpenRequested(Path(entry.path), settings))

    def action_write(self) -> None:
        place = self.path.with_name(f"{self.path.stem}_corrected.yaml")
        self.app.push_screen(WriteScreen(place, self.audit.fixed), self._written)

    def _written(self, path: Path | None) -> None:
        if path is not None:
            self.notify(f"Wrote {printable(str(path))}", markup=False)

    def action_back(self) -> None:
        if self.focused is self._model:
            self.query_one(Findings).focus()
        else:
            self.dismiss()
