"""The first screen: which model, how to scan it, and what the model turns out to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize, ScreenResume, ScreenSuspend
from textual.screen import Screen
from textual.widgets import Button, Input, Static

from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.messages import (
    DownloadCancelled,
    DownloadRequested,
    InspectRequested,
    LayersRequested,
    LibraryRequested,
    OpenRequested,
)
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.found_panel import FoundPanel
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.model_choices import ModelChoices
from spectrum_tui.app.widgets.setup_form import OF_THE_MODEL, SetupForm
from spectrum_tui.app.widgets.step_bar import StepBar, model_label
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.requests import DownloadProgress, Failed, ModelSummary, Ready, Suggestions
from spectrum_tui.core.saved.steps import step_of
from spectrum_tui.core.settings import DEMO, RECIPES, Settings

SLIM = 72
"""Columns below which the help beside a field takes up to three lines."""


class SetupScreen(NamedKeys, Screen[None]):
    """Type a model, enter reads its headers, enter goes on."""

    AUTO_FOCUS = "#model"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 (Textual's type)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012 (Textual's type)
    DEFAULT_CSS = """
    SetupScreen {
        & #form { height: auto; border: round $panel; padding: 0 1; border-title-color: $primary; }
        & #form:focus-within { border: round $accent; }
        & #lower { height: 1fr; layout: vertical; }
        & #choices, & #found {
            height: 1fr; border: round $panel !important; padding: 0 1;
            border-title-color: $primary; background: $surface;
            border-subtitle-color: $foreground 50%;
        }
        & #choices { text-wrap: nowrap; text-overflow: ellipsis; }
        & #choices:focus, & #found:focus-within { border: round $accent !important; }
        &.-narrow #found { display: none; }
        &.-narrow.-has-model #found { display: block; }
        &.-narrow.-has-model #choices { display: none; }
        &.-wide #lower { layout: horizontal; }
        &.-wide #choices, &.-wide #found { width: 1fr; height: 100%; }
        &.-wide.-high #form, &.-wide.-high #choices, &.-wide.-high #found { padding: 1 2; }
        &.-wide.-high Field { margin: 0 0 1 0; }
        &.-wide.-high #field-output_dir { margin: 0; }
        &.-wide.-high #found.-found #found-groups { display: block; }
        &.-wide.-high #found.-stacked.-found.-remote #continue { margin: 0 0 1 0; }
        &.-slim Field { grid-size: 2; grid-columns: 15 1fr; }
        &.-slim Field > .field--help { display: none; }
        &.-slim Field.-stacked > .field--help { display: block; }
        &.-slim Field.-error > .field--help {
            display: block; column-span: 2; padding: 0 0 0 16;
        }
        &.-wide Field { grid-columns: 15 35 1fr; }
        &.-wide Field.-stacked { grid-columns: 15 1fr; }
        & > #opening { display: none; height: 1fr; content-align: center middle; }
        &.-opening > #opening { display: block; }
        &.-opening > #form, &.-opening > #lower { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "continue", "Continue", tooltip="Choose the layers of this model"),
        Binding("ctrl+l", "library", "Library", tooltip="Score files of this machine"),
        Binding("d", "download", "Download", tooltip="Fetch the model into the hub's cache"),
        Binding(
            "w",
            "stream",
            "No download",
            tooltip="Choose the layers of this model, to scan them without a download",
        ),
        Binding(
            "escape", "cancel", "Cancel", key_display="esc", tooltip="Stop the download or reading"
        ),
        Binding(
            "escape", "other", "Other model", key_display="esc", tooltip="Back to the model field"
        ),
        hidden_key("down", "choices", "Choices", "From the model field to the list"),
        hidden_key("enter", "inspect", "Read on", "Go on to the layers once the model is read"),
    ]

    def __init__(
        self,
        settings: Settings,
        download: Callable[[], DownloadProgress | None] = lambda: None,
        opening: str = "",
    ) -> None:
        """`download` tells how far the running download is; asked five times a second. `opening`
        is a file that opens over this, so that the form waits."""
        super().__init__(classes="-opening" if opening else "")
        self._opening = opening
        self._opening_run = self._goes_on = False
        self.settings = settings
        self._download = download
        self.summary: ModelSummary | None = None
        self._form = SetupForm(settings)
        self._found = FoundPanel(on_cluster=bool(settings.cluster), id="found")

    def compose(self) -> ComposeResult:
        yield StepBar(1)
        yield Static(f"Reading {printable(self._opening)} …", markup=False, id="opening")
        yield self._form
        with Container(id="lower"):
            yield ModelChoices(id="choices")
            yield self._found
        yield KeyFooter()

    def on_mount(self) -> None:
        """Name the panels, and read a model that was given on the command line at once."""
        self.query_one("#choices").border_title = "Local models and earlier scores"
        self.query_one("#choices").border_subtitle = "↓ from the model field, enter chooses"
        if self.settings.model:
            self.call_after_refresh(self.action_inspect)

    def on_resize(self, event: Resize) -> None:
        """Leave out the help where it would take the room of what was found."""
        self.set_class(event.size.width < SLIM, "-slim")

    def show_form(self) -> None:
        """Show the form, whatever was opening."""
        self.remove_class("-opening")

    @on(ScreenResume)
    def _leave_field(self) -> None:
        """Keep the cursor out of the field while a model is read, as AUTO_FOCUS does not."""
        if self.focused is None and self.wants_answer:
            self.call_after_refresh(self._focus_found)

    def _focus_found(self) -> None:
        if self.wants_answer:
            self.set_focus(self._found.default if self.summary is not None else None)

    @on(ScreenSuspend)
    def _behind(self) -> None:
        self.show_form()
        if self._opening_run:
            self._clear_found()
            self._form.field("model").show_help()

    # -- answers -------------------------------------------------------------------------------

    def set_ready(self, ready: Ready) -> None:
        self._form.set_devices(ready.devices)

    def set_suggestions(self, suggestions: Suggestions) -> None:
        self._form.suggester.known = [*suggestions.models, DEMO]
        self.query_one(ModelChoices).suggest(suggestions)

    @property
    def wants_answer(self) -> bool:
        """Whether a model is asked for that is still the one in the field."""
        return bool(self.settings.model)

    def show_summary(self, summary: ModelSummary) -> None:
        """Show what a model is; nothing of one that the user has taken back meanwhile. An error
        that is on show stays."""
        if not self.wants_answer:
            return
        if self._found.state == "downloading" and summary.is_local:
            by_itself(self)
        self.summary = summary
        fields = [self._form.field(name) for name in OF_THE_MODEL]
        for field in fields:
            if not field.error:
                field.show_help()
        if self._found.state == "downloading" and not summary.is_local:
            self._found.show_facts(summary)  # the exact names came meanwhile
        else:
            self._found.show_found(summary)
        self._show_found_panel(True)
        self.query_one(StepBar).detail = model_label(summary)
        waits = self.focused is None or self.focused.id in (*OF_THE_MODEL, "cancel")
        if waits and not any(field.error for field in fields) and self._found.state == "found":
            self._found.default.focus()
        goes_on, self._goes_on = self._goes_on, False
        if goes_on and self._found.state == "found":
            by_itself(self)
            self.action_continue()

    def open_run(self, folder: Path) -> None:
        """Open the training run that was typed as a model; until it is there, it is being read."""
        if not self.wants_answer:
            return
        if self._form.parse("top_percent") is None:  # said beside its field
            self._clear_found()
            return
        self._opening_run = True
        self._form.field("model").show_help(f"Reading {printable(folder.name)} …")
        self._open(folder)

    def show_notice(self, text: str) -> None:
        if self._found.state in ("reading", "downloading"):
            self._form.field("model").show_help(text)

    def show_failure(self, failed: Failed) -> None:
        """Put an error beside the field that caused it; on the model where that is unknown. None of
        a model that the user has taken back."""
        if not self.wants_answer:
            return
        error = failed.error
        self.show_error(error.get("field", ""), error.get("message", ""), error.get("hint", ""))

    def show_error(self, name: str, message: str, hint: str = "") -> None:
        """Show an error beside a field, and give up what was going on. Who types in another field
        meanwhile goes on there."""
        by_itself(self)
        waited = self._found.state in ("reading", "downloading")
        types_on = waited and isinstance(self.focused, Input)
        self.show_form()
        fields = {field.id for field in self.query(Field)}
        field = self._form.field(name if f"field-{name}" in fields else "model")
        hint = self._form.with_option(name, hint)
        if self._found.state == "downloading" and self.summary is not None:
            self._found.show_found(self.summary)
        elif self.summary is None:
            self._clear_found()
        if self._form.field("model") is not field:
            self._form.field("model").show_help()
        field.show_error(message, hint)
        if not types_on:
            field.control.focus()
        self.refresh_bindings()
        if field is self._form.field("model"):
            self._form.list_models()

    # -- what the user does --------------------------------------------------------------------

    @on(Input.Submitted, "#model")
    @on(Input.Submitted, "#revision")
    def model_submitted(self) -> None:
        """Enter: read the model, or go on where it was read already."""
        if self.summary is not None:
            self.action_continue()
        else:
            self.action_inspect()

    @on(Input.Submitted)
    def value_submitted(self, event: Input.Submitted) -> None:
        """Enter in another field: check it, then go on as far as possible."""
        if event.input.id not in OF_THE_MODEL and self._form.read() is not None:
            self.action_continue()

    @on(Input.Changed, "#model")
    @on(Input.Changed, "#revision")
    def model_changed(self, event: Input.Changed) -> None:
        """Forget what was found: it belongs to another model."""
        self.query_one(ModelChoices).narrow(self._form.input("model").value.strip())
        asked = (self.settings.model, self.settings.revision)
        if self._form.typed() != asked:
            if self._found.state == "downloading":
                self.post_message(DownloadCancelled())
            self._clear_found()
            for name in OF_THE_MODEL:
                self._form.field(name).show_help()

    @on(SetupForm.FoldersFound)
    def folders_found(self, event: SetupForm.FoldersFound) -> None:
        if event.typed == self._form.input("model").value:  # else more was typed meanwhile
            self.query_one(ModelChoices).show_folders(event.folders)

    @on(ModelChoices.FolderChosen)
    def folder_chosen(self, event: ModelChoices.FolderChosen) -> None:
        """Go on in a folder; the list shows what is in it."""
        field = self._form.input("model")
        field.value = event.path
        field.cursor_position = len(event.path)

    @on(ModelChoices.ModelChosen)
    def model_chosen(self, event: ModelChoices.ModelChosen) -> None:
        self._form.input("model").focus()
        self._form.input("model").value = event.model
        self._form.input("revision").value = ""
        self.action_inspect()

    @on(ModelChoices.ResultChosen)
    def result_chosen(self, event: ModelChoices.ResultChosen) -> None:
        self._open(event.path)

    @on(Button.Pressed, "#continue")
    def action_continue(self) -> None:
        """Go on to the layers, or say what is missing; what is on the hub is fetched later."""
        settings = self._form.read()
        if self.summary is None:
            self.action_inspect()
        elif settings is not None:
            self.post_message(LayersRequested(self.summary, settings))

    @on(Button.Pressed, "#stream")
    def action_stream(self) -> None:
        """Go on to the layers of a hub model, to scan them without a download."""
        settings = self._form.read()
        if self.summary is not None and settings is not None:
            chosen = replace(settings, stream=True, download=False)
            self.post_message(LayersRequested(self.summary, chosen))

    @on(Button.Pressed, "#download")
    def action_download(self) -> None:
        if self.summary is None or not self.check_action("download", ()):
            return
        self._found.follow(self._download)
        self.query_one("#cancel", Button).focus()
        self.refresh_bindings()
        self.post_message(DownloadRequested(self.summary.model, self.summary.revision))

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        if self._found.state == "downloading" and self.summary is not None:
            self.post_message(DownloadCancelled())
            self._found.show_found(self.summary)
            self.query_one("#download", Button).focus()
            self.refresh_bindings()
        else:
            self.action_other()

    def action_other(self) -> None:
        self._clear_found()
        self._form.field("model").show_help()
        self._form.input("model").focus()

    def action_choices(self) -> None:
        if not self.has_class("-narrow", "-has-model"):
            self.query_one(ModelChoices).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("download", "stream"):
            return self._found.state == "found" and self._found.offers_download
        if action == "continue":
            busy = not self.is_mounted or self._found.state in ("reading", "downloading")
            return not busy and (self.summary is not None or self._form.typed()[0] != "")
        if action == "cancel":
            return self.is_mounted and self._found.state in ("reading", "downloading")
        if action == "other":
            return self.is_mounted and self._found.state == "found"
        if action == "inspect":
            return self.is_mounted and self.focused is None and self._found.state == "reading"
        if action == "choices":
            return self.focused is not None and self.focused.id == "model"
        return True

    def defaults(self) -> dict[str, Any]:
        """Return what "Keep these as my defaults" keeps: every field that is kept and usable."""
        return self._form.kept()

    # -- inside --------------------------------------------------------------------------------

    def action_inspect(self) -> None:
        model, revision = self._form.typed()
        asked = (self.settings.model, self.settings.revision)
        if self._found.state == "reading" and (model, revision) == asked:
            # A second enter goes on to the layers, as it would after the answer.
            self._goes_on = True
            said = f"Reading the headers of {model}, then on to its layers …"
            self._form.field("model").show_help(said)
            return
        if model.rstrip().endswith((".json", *RECIPES)):
            self._open(output_folder(model.strip()))
            return
        self.settings = replace(self.settings, model=model, revision=revision)
        self.summary, self._goes_on = None, False
        self._form.field("model").show_help(f"Reading the headers of {model} …")
        self._found.show_reading(model)
        self.set_focus(None)  # what is pressed from now on is not meant for the field
        self.refresh_bindings()
        self.post_message(InspectRequested(model, revision))

    def _open(self, path: Path) -> None:
        settings = self._form.to_open_with(self.settings)
        if settings is not None:
            film = step_of(path) is not None
            self.post_message(OpenRequested(path, settings, film))

    def action_library(self) -> None:
        settings = self._form.to_open_with(self.settings)
        if settings is not None:
            self.post_message(LibraryRequested(settings))

    def _clear_found(self) -> None:
        self._opening_run = self._goes_on = False
        self.summary = None
        self.settings = replace(self.settings, model="", revision="")
        self._found.show_empty()
        self._show_found_panel(False)
        self.query_one(StepBar).detail = ""

    def _show_found_panel(self, show: bool) -> None:
        self.set_class(show, "-has-model")
        self.refresh_bindings()
