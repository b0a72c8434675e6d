"""Gradients on texts of one's own: which, how many batches, and what that takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, Label, Static

from spectrum_tui.app import proof_setup
from spectrum_tui.app.beside import beside
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.probe_run import ProbeRun, ProbeView, memory_text
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.unasked import by_itself
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.data_suggester import DataSuggester
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.core import numbers
from spectrum_tui.core.dataset.builtin import GENERAL
from spectrum_tui.core.errors import DataError, InputError, SpectrumError
from spectrum_tui.core.memory.presets import is_half, parse_batch, parse_sequence
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.probing.records import ProbeJob, parse_batches
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.text import shortened
from spectrum_tui.proving.probing.asking import ProbeAsked

POLLS_PER_SECOND = 6
LOOK_SECONDS = 0.4
"""After the last key in the field for texts, before they are read."""
_USUAL = ProbeJob(model="", data="", digest="")
_NUMBERS = (("batches", "Batches", 9), ("batch", "Sequences", 6), ("sequence", "Tokens", 8))


class ProbeScreen(Dialog[Result | None]):
    """Dismissed with the result that has the metrics of the data, or None."""

    DEFAULT_CSS = """
    ProbeScreen > #dialog {
        width: 90%; max-width: 100; height: auto;
        & Field { grid-columns: 11 1fr; }
        & Field.-stacked > .field--help { padding: 0 0 0 12; }
        & #field-model { display: none; }
        & #field-model.-shown { display: block; }
        & #numbers { height: 1; margin: 1 0 0 0; }
        & #numbers > Label { color: $foreground 80%; padding: 0 1 0 0; }
        & #numbers > #label-batches { width: 11; }
        & #numbers > Input { background: $panel; padding: 0 1 !important; margin: 0 3 0 0; }
        & #said { height: 3; margin: 1 0 0 0; }
    }
    """
    AUTO_FOCUS = "#data"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Measure", tooltip="Begin", priority=True),
        Binding("tab", "next_field", "Next field", tooltip="To the next field"),
        Binding("escape", "stop", "Stop", key_display="esc", tooltip="Stop; nothing is kept"),
        Binding("escape", "dismiss", "Cancel", key_display="esc", tooltip="Back to the results"),
    ]

    def __init__(self, state: ResultState) -> None:
        super().__init__()
        self._state = state
        usual = {"data": "", "model": "", **{n: str(getattr(_USUAL, n)) for n, _, _ in _NUMBERS}}
        self._fields = {
            name: Input(
                text,
                placeholder=GENERAL if name == "data" else "",
                suggester=DataSuggester() if name == "data" else None,
                id=name,
                compact=True,
            )
            for name, text in usual.items()
        }
        self._said = Static(markup=False, id="said")
        self._look: Timer | None = None
        self._polling: Timer | None = None
        self._memory = self._problem = ""
        self.run_now: ProbeRun | None = None
        """The probe that was started last."""

    def compose(self) -> ComposeResult:
        fields = self._fields
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Measure on data"
            about = "JSONL, JSON, CSV, Parquet, text, or a folder of such files"
            yield Field("data", "Data", fields["data"], about, stacked=True)
            yield Field("model", "Model", fields["model"], "its folder, or its id", stacked=True)
            with Horizontal(id="numbers"):
                for name, title, width in _NUMBERS:
                    yield Label(title, id=f"label-{name}")
                    fields[name].styles.width = width
                    yield fields[name]
            yield self._said
        yield KeyFooter()

    def on_mount(self) -> None:
        self._find_model()
        self._estimate()

    def on_unmount(self) -> None:
        """End what runs: its process would go on for nobody."""
        if self.run_now is not None:
            self.run_now.stop()

    @work
    async def _find_model(self) -> None:
        state = self._state
        try:
            await beside(partial(proof_setup.model_of, state.result, state.settings))
        except SpectrumError as error:
            # The focus stays: a name of a text may be half typed.
            self._show_at("model", error.message, error.hint.replace(": --model", ""))

    # -- fields --------------------------------------------------------------------------------

    def _field(self, name: str) -> Field:
        return self.query_one(f"#field-{name}", Field)

    def _typed(self, name: str) -> str:
        return self._fields[name].value.strip()

    @on(Input.Changed, "#data")
    def _data_changed(self) -> None:
        """Read what is typed, a moment after the last letter."""
        if self._look is not None:
            self._look.stop()
        self._look = self.set_timer(LOOK_SECONDS, self._read)

    @work(exclusive=True, group="read")
    async def _read(self) -> None:
        field, text = self._field("data"), self._typed("data")
        if not text:
            field.show_help()
            return
        field.show_help("Reading …")
        try:
            said = await beside(partial(proof_setup.read_texts, text, media=True))
        except SpectrumError as error:
            field.show_error(error.message, error.hint)
        else:
            field.show_help(printable(shortened(said, 300)))

    @on(Input.Changed, "#model")
    def _model_changed(self) -> None:
        self._field("model").show_help()

    @on(Input.Changed, "#batches, #batch, #sequence")
    def _number_changed(self) -> None:
        self._problem = ""
        self._estimate()

    @work(exclusive=True, group="estimate")
    async def _estimate(self) -> None:
        """Say what it takes, once it is worked out."""
        try:
            how = self._how()
        except InputError as error:
            self._memory = ""
            self._problem = f"{error.message} {error.hint}"
        else:
            tokens = how.batch * how.sequence
            half = is_half(self._state.settings.device)
            words = partial(memory_text, self._state.result, tokens=tokens, half=half)
            self._memory = await beside(words)
        self._say()

    def _how(self) -> ProbeJob:
        settings = self._state.settings
        return replace(
            _USUAL,
            batches=parse_batches(self._typed("batches"), "Batches"),
            batch=parse_batch(self._typed("batch")),
            sequence=parse_sequence(self._typed("sequence")),
            device=proof_setup.device_of(settings),
            allow_gptq=settings.allow_gptq,
        )

    # -- while it runs -------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether a probe runs."""
        return self.run_now is not None and self.run_now.live

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "start" | "dismiss" | "next_field":
                return not self.live
            case "stop":
                return self.live
        return True

    def action_next_field(self) -> None:
        self.focus_next()

    def action_start(self) -> None:
        """Begin, unless something is wrong, which is said where it stands."""
        if self._look is not None:
            self._look.stop()  # what is said here stays
        if not self._typed("data"):
            self._refuse("data", "Name a text to measure on.", f"{GENERAL} is one that is here.")
        elif not self.live:
            self._problem = ""
            self._start()

    @work(group=KEYS_WAIT)
    async def _start(self) -> None:
        state, data = self._state, proof_setup.names_of(self._typed("data"))
        try:
            how = self._how()
            typed = self._typed("model")
            model = typed or await beside(
                partial(proof_setup.model_of, state.result, state.settings)
            )
        except SpectrumError as error:
            self._refuse(error.field, error.message, error.hint)
            return
        asked = ProbeAsked(result=state.result, data=data, how=how, model=model)
        self.run_now = ProbeRun(asked)
        self.run_now.begin()
        self._freeze(live=True)
        self._polling = self.set_interval(1 / POLLS_PER_SECOND, self.poll)

    def action_stop(self) -> None:
        """Stop; what was measured up to now is gone."""
        if self.run_now is not None:
            self.run_now.stop()
            self.poll()

    def poll(self) -> None:
        """Show the probe as of now."""
        if self.run_now is None:
            return
        view = self.run_now.view
        if not self.run_now.live and self._polling is not None:
            by_itself(self)
            self._polling.stop()
            self._polling = None
            self._freeze(live=False)
        self._say()
        if view.phase == "finished":
            if view.note:
                self.app.notify(printable(view.note), severity="warning", markup=False)
            self.dismiss(view.result)
        elif view.error is not None and not self._problem:
            name = "data" if isinstance(view.error, DataError) else view.error.field
            self._refuse(name, view.error.message, view.error.hint)

    def _freeze(self, *, live: bool) -> None:
        for field in self._fields.values():
            field.disabled = live
        if not live:
            self._fields["data"].focus()
        self.refresh_bindings()

    def _refuse(self, name: str, message: str, hint: str) -> None:
        """Say what is wrong beside its field, or below."""
        if name in self._fields:
            self._fields[name].focus()
        if name in ("data", "model"):
            self._show_at(name, message, hint)
        else:
            self._problem = f"{message} {hint.replace('--sequence', 'Tokens')}"
        self._say()

    def _show_at(self, name: str, message: str, hint: str) -> None:
        self._field(name).show_error(message, hint)
        self._field(name).add_class("-shown")

    def _say(self) -> None:
        self._said.update(Content("\n").join(self._lines()))

    def _lines(self) -> Iterator[Content]:
        view = self.run_now.view if self.run_now is not None else None
        if self._problem:
            yield Content.styled(printable(f"✗ {self._problem}".rstrip()), "$error")
        elif view is None or view.phase in ("stopped", "failed"):
            if view is not None and view.phase == "stopped":
                yield Content.styled("■ Stopped: nothing is kept.", "$warning")
            if self._memory:
                yield Content.styled(self._memory, MUTED)
            yield Content.styled("The time is known after the first batch.", MUTED)
        else:
            yield from _live_lines(view)


def _live_lines(view: ProbeView) -> Iterator[Content]:
    plan, doing = view.plan, view.doing
    if view.phase == "stopping":
        yield Content.styled("● Stopping …", "$warning")
    elif plan is None:
        yield Content.styled("● Reading the texts and the model …", "$accent")
    else:
        memory = numbers.size(plan.memory)
        yield Content.styled(
            printable(f"● {plan.model_class} in {plan.dtype} on {plan.device}"), "$accent"
        )
        yield Content.styled(
            f"  {counted(plan.passes, 'pass', 'passes')}, {plan.held}, about {memory}", MUTED
        )
        if doing is None:
            yield Content("  the first batch …")
        else:
            left = f", {numbers.about(view.left)} left" if math.isfinite(view.left) else ""
            share = f"{doing.step / doing.steps:.0%}".replace("%", " %")
            yield Content(f"  {share}: batch {doing.step:,} of {doing.steps:,}{left}")
