"""The save dialog: as what, where, which files and what they replace, and what went wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, Static

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.screens.save_report import kind_text, ties_text, trainers_text
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.kind_list import KindList
from spectrum_tui.app.widgets.line_view import TextScroll
from spectrum_tui.app.widgets.tick_box import TickBox
from spectrum_tui.core.errors import SelectionError, SpectrumError
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.kinds import DEFAULT_KIND, kinds_for
from spectrum_tui.core.recipes.writing import Drafts, Files, PlannedFile, planned_files, write_files


@dataclass(frozen=True, slots=True)
class Order:
    """What the dialog is set to."""

    kind: RecipeKind
    folder: Path
    with_scores: bool
    experts: bool


@dataclass(frozen=True, slots=True)
class SavePlan:
    """What saving would do: the files, what they mean, or why there are none; and whether single
    experts are to be had of this kind."""

    files: list[PlannedFile]
    report: Content
    experts: bool
    refusal: SelectionError | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The first file of a recipe that was written, and the name of its kind."""

    path: Path
    kind: str


class Box(TickBox):
    """Space ticks it; enter saves, as everywhere in the dialog."""

    BINDINGS: ClassVar[list[BindingType]] = [
        hidden_key("enter", "screen.save", "Save", "Write what is listed")
    ]


class SaveScreen(Dialog[Saved | None]):
    """Asks what to save and where; dismissed with what was saved, or None when cancelled.

    Its height stays as it is, so that nothing moves while a kind is chosen.
    """

    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 - as in Textual
    DEFAULT_CSS = """
    SaveScreen {
        & > #dialog {
            width: 100%;
            max-width: 100;
            height: auto;
            max-height: 100%;
            padding: 0 2;
            & > Label { color: $foreground 70%; margin: 1 0 0 0; }
            & > #folder { background: $panel; padding: 0 1; }
            & > #boxes {
                height: 1;
                & > Box { margin: 0 3 0 0; }
            }
            & > KindList { max-height: 10; }
            & > #details {
                height: 5;
                margin: 1 0 0 0;
                scrollbar-size-vertical: 1;
                & > Static { height: auto; }
            }
            &.-refused > #details { height: 2; }
            &.-nothing > #details { display: none; }
            & > #error { height: 3; display: none; color: $error; }
            & > #error.-shown { display: block; }
            &.-nothing > #error { height: 5; margin: 1 0 0 0; }
            & > #buttons {
                height: auto;
                margin: 1 0 0 0;
                align-horizontal: right;
                & > Button { margin: 0 0 0 2; }
            }
        }
        &.-tall > #dialog {
            padding: 1 2;
            & > KindList { max-height: 14; }
            & > #boxes { margin: 1 0 0 0; }
            & > #details { height: 10; }
            &.-refused > #details { height: 7; }
            &.-nothing > #error { height: 10; }
        }
    }
    """
    AUTO_FOCUS = "KindList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "kind(-1)", "Previous kind", tooltip="The kind of file above"),
        Binding("down", "kind(1)", "Next kind", tooltip="The kind of file below"),
        hidden_key("pageup", "details(-1)", "Up", "Up in the list of files"),
        hidden_key("pagedown", "details(1)", "Down", "Down in the list of files"),
        Binding("escape", "cancel", "Cancel", tooltip="Write nothing"),
        Binding("ctrl+s", "save", "Save", tooltip="Write the files that are listed"),
    ]

    def __init__(self, choice: Choice, output_dir: str, kind: str = "", words: str = "") -> None:
        """`kind` is the name of the kind to offer first; `words` say what is saved where that is
        more than the policy says."""
        super().__init__()
        self.choice, self._words = choice, words or choice.policy.words
        self.result = choice.selection.result
        self._drafts = Drafts(choice)
        offered = kinds_for(self.result)
        first = next((one for one in offered if one.name == kind), DEFAULT_KIND)
        self._kinds = KindList(offered, first)
        self._notes: dict[tuple[str, bool], Content] = {}
        self._folder = Input(output_dir, id="folder", select_on_focus=False, compact=True)
        own = bool(self.result.provenance.version)
        self._scores = Box("Also the scores (two JSON files)", own, id="scores")
        self._experts = Box("Single experts", id="experts")
        self._experts.display = False
        self._experts.tooltip = "Only the best experts of each fused parameter"
        self._files = Static(markup=False, id="files")
        self._report = Static(markup=False, id="report")
        self._error = Static(markup=False, id="error")
        self._button = Button("Save", variant="primary", id="save", compact=True)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = Content(f"Save {printable(self._words)} as")
            dialog.border_subtitle = "↑↓ kind · enter saves · esc cancels"
            yield self._kinds
            yield Label(f"Folder, relative to {Path.cwd()}", markup=False)
            yield self._folder
            with Horizontal(id="boxes"):
                yield self._scores
                yield self._experts
            with TextScroll(id="details", can_focus=False):
                yield self._files
                yield self._report
            yield self._error
            with Horizontal(id="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield self._button

    def on_mount(self) -> None:
        self._look()

    @property
    def kind(self) -> RecipeKind:
        return self._kinds.kind

    @property
    def folder(self) -> Path:
        """The folder as typed; empty is the current one."""
        return output_folder(self._folder.value.strip())

    def _order(self) -> Order:
        return Order(self.kind, self.folder, self._scores.value, self._experts.value)

    def action_kind(self, by: int) -> None:
        self._kinds.step(by)

    def action_details(self, by: int) -> None:
        details = self.query_one("#details", TextScroll)
        details.scroll_relative(y=by * max(1, details.size.height - 1), animate=False)

    # -- what would be written ------------------------------------------------------------------

    def on_resize(self) -> None:
        """Long names are folded at the width."""
        self.call_after_refresh(self._plan)

    @on(Input.Changed)
    @on(Checkbox.Changed)
    @on(KindList.Chosen)
    def _look(self) -> None:
        self._show_error("")
        self._plan()

    @work(exclusive=True, group="plan")
    async def _plan(self) -> None:
        order = self._order()
        plan = await asyncio.to_thread(self._planned, order)
        self._files.update(_listing(plan.files, order.folder, self._files.size.width))
        self._report.update(plan.report)
        self._experts.display = plan.experts
        self.query("#dialog").set_class(plan.refusal is not None, "-nothing")
        if plan.refusal is not None:
            self._show_error(plan.refusal.message, plan.refusal.hint)

    def _planned(self, order: Order) -> SavePlan:
        experts = order.kind.experts and self._drafts.has_experts
        try:
            drafts = self._drafts.of(order.kind, experts=order.experts)
        except SelectionError as error:
            return SavePlan([], Content(""), experts, error)
        try:
            files = planned_files(self.result, order.folder, drafts, with_scores=order.with_scores)
        except (OSError, RuntimeError, ValueError):  # a path that no system call takes
            files = []
        return SavePlan(files, self._noted(order, drafts), experts)

    def _noted(self, order: Order, drafts: Files) -> Content:
        """Return what is said of a draft, made once: a folder is typed letter by letter."""
        choice = self._drafts.with_experts(order.kind, order.experts)
        key = (order.kind.name, choice.experts)
        if key not in self._notes:
            notes = (
                trainers_text(choice, drafts),
                kind_text(order.kind, choice),
                ties_text(choice),
            )
            self._notes[key] = Content("\n").join(note for note in notes if note)
        return self._notes[key]

    # -- writing --------------------------------------------------------------------------------

    @on(Input.Submitted)
    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        if not self._button.disabled:
            self._button.disabled = True
            self._write()

    @work(group=KEYS_WAIT)
    async def _write(self) -> None:
        order = self._order()
        try:
            path = await asyncio.to_thread(self._written, order)
        except SpectrumError as error:
            self._refuse(error.message, error.hint)
        except (OSError, RuntimeError, ValueError) as error:
            self._refuse(f"Cannot use this folder: {error}.", "Choose another one.")
        else:
            self.dismiss(Saved(path, order.kind.name))

    def _written(self, order: Order) -> Path:
        drafts = self._drafts.of(order.kind, experts=order.experts)
        return write_files(self.result, order.folder, drafts, with_scores=order.with_scores)

    def _refuse(self, message: str, hint: str) -> None:
        self._show_error(message, hint)
        self._button.disabled = False
        self._plan()

    def _show_error(self, message: str, hint: str = "") -> None:
        self._error.update(printable(f"✗ {message} {hint}".strip()) if message else "")
        self._error.set_class(bool(message), "-shown")
        self.query("#dialog").set_class(bool(message), "-refused")

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
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
