"""What a proof is to compare, on which texts; what that takes is said before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.suggester import Suggester, SuggestFromList
from textual.timer import Timer
from textual.widgets import Checkbox, Input, Label, Static

from spectrum_tui.app import proof_offers, proof_setup
from spectrum_tui.app.beside import beside
from spectrum_tui.app.key_names import NamedKeys
from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.messages import OpenRequested, ProofStarted
from spectrum_tui.app.proof_setup import FIELDS, Costs, Typed
from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.data_suggester import DataSuggester
from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.key_footer import KeyFooter
from spectrum_tui.app.widgets.method_list import MethodList
from spectrum_tui.app.widgets.step_bar import StepBar
from spectrum_tui.app.widgets.tick_box import TickBox
from spectrum_tui.core import numbers
from spectrum_tui.core.dataset.builtin import GENERAL
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.files import output_folder
from spectrum_tui.core.memory.presets import is_half
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.methods import Method
from spectrum_tui.core.proof.plan import DTYPES
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.store import PROOF
from spectrum_tui.core.text import shortened
from spectrum_tui.proving.preparing import NO_KEPT

LOOK_SECONDS = 0.4
"""After the last key in a field for texts, before they are read."""
_TEXTS = ("data", "kept", "held_out")
_DATA_HELP = "JSONL, JSON, CSV, Parquet, text, or a folder of such files"
_KEPT_HELP = "what must not be forgotten"
_HELD_OUT_HELP = "the text held out"
_LINES = {
    "numbers": (
        ("steps", "Steps", 9),
        ("seeds", "Seeds", 6),
        ("batch", "Batch", 6),
        ("sequence", "Tokens", 8),
    ),
    "machine": (("dtype", "Weights", 12), ("gpus", "GPUs", 6), ("price", "Price of an hour", 8)),
}


class ProofSetupScreen(NamedKeys, Screen[None]):
    """Texts above, methods below; enter begins from anywhere."""

    AUTO_FOCUS = "#data"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (112, "-wide")]  # noqa: RUF012 (Textual's type)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012 (Textual's type)
    DEFAULT_CSS = """
    ProofSetupScreen {
        & #texts { height: auto; }
        & Field { grid-columns: 15 30 1fr; }
        & Field.-stacked { grid-columns: 15 1fr; }
        & #field-model { display: none; }
        & #field-model.-shown { display: block; }
        & .line { height: 1; }
        & .line > Label { color: $foreground 80%; padding: 0 1 0 0; }
        & .line > #label-steps, & .line > #label-dtype, & .line > #label-rates { width: 15; }
        & .line > Input { background: $panel; padding: 0 1 !important; margin: 0 3 0 0; }
        & .line > #rates { width: 30; }
        & #said { height: 3; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-high.-wide #texts { padding: 1 2; }
        &.-high.-wide Field { margin: 0 0 1 0; }
        &.-high #said { height: 4; padding: 0 2 1 2; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start", tooltip="Begin; above an hour it asks", priority=True),
        Binding("tab", "app.focus_next", "Next field", tooltip="To the next field, or the methods"),
        Binding("ctrl+o", "earlier", "Earlier proof", tooltip="Open the proof that is there"),
        Binding("escape", "dismiss", "Back", key_display="esc", tooltip="Back to the results"),
    ]

    def __init__(self, state: ResultState, metrics: Sequence[str] = ()) -> None:
        """`metrics` are those that the scores have besides the one that is shown."""
        super().__init__()
        self._state = state
        self._choice = state.choice
        every = metrics or state.metrics
        self.methods = MethodList(proof_offers.offers_of(self._choice, every))
        self._fields: dict[str, Input] = {}
        self.checkpointing = TickBox("Gradient checkpointing")
        self._said = Static(markup=False, id="said")
        self._looks: dict[str, Timer] = {}
        self._earlier: Proof | None = None
        self._costs = Costs()
        self._problem = ""
        self._starting = False

    def compose(self) -> ComposeResult:
        yield StepBar(0, f"prove {printable(self._state.result.provenance.model)}")
        fields = self._fields = self._inputs()
        with Vertical(id="texts", classes="panel") as panel:
            panel.border_title = "Train on your own data, in several ways, and compare"
            yield Field("data", "Data", fields["data"], _DATA_HELP, stacked=True)
            yield Field("kept", "Text to keep", fields["kept"], _KEPT_HELP)
            yield Field("held_out", "Judge by", fields["held_out"], _HELD_OUT_HELP)
            yield Field("model", "Model", fields["model"], "its folder, or id on the hub")
            yield Field("folder", "Folder", fields["folder"], "of all rows", stacked=True)
            for line, titles in _LINES.items():
                with Horizontal(id=line, classes="line"):
                    for name, title, width in titles:
                        yield Label(title, id=f"label-{name}")
                        fields[name].styles.width = width
                        yield fields[name]
            with Horizontal(id="ways", classes="line"):
                yield Label("Learning rate", id="label-rates")
                yield fields["rates"]
                yield self.checkpointing
        with Vertical(self.methods, id="list", classes="panel") as panel:
            panel.border_subtitle = "space checks, ←→ sets the percentage, + adds another"
        yield self._said
        yield KeyFooter()

    def _inputs(self) -> dict[str, Input]:
        usual = Typed(folder=proof_setup.folder_of(self._state.result))
        suggesters: dict[str, Suggester] = {name: DataSuggester() for name in _TEXTS}
        suggesters["dtype"] = SuggestFromList(DTYPES)
        holders = {
            "data": GENERAL,
            "kept": f"{GENERAL}, or none",
            "rates": "by trials, or full=2e-5",
            "held_out": "a tenth of the data",
            "price": "none",
        }
        return {
            name: Input(
                getattr(usual, name),
                placeholder=holders.get(name, ""),
                suggester=suggesters.get(name),
                id=name,
                compact=True,
            )
            for name in FIELDS
        }

    def on_mount(self) -> None:
        """Look at what is there already."""
        self.query_one("#field-folder .field--help").display = False
        self._look_around()
        self._count()
        self._read("kept")

    # -- what is there already -----------------------------------------------------------------

    @work(group="around")
    async def _look_around(self) -> None:
        """Find what is missing, where the model is, and an earlier proof."""
        self.methods.show_missing(await beside(proof_offers.missing))
        state = self._state
        try:
            await beside(partial(proof_setup.model_of, state.result, state.settings))
        except SpectrumError as error:
            self._say_at_field("model", error.message, error.hint)
        await self._look_at_folder(take=True)

    async def _look_at_folder(self, *, take: bool = False) -> None:
        folder = self._fields["folder"].value
        found = await beside(partial(proof_setup.earlier, folder))
        model = self._state.result.provenance.model
        self._earlier = found if found is not None and found.model == model else None
        if self._earlier is not None and take and not self._fields["data"].value:
            self._take_earlier(self._earlier)
        self.refresh_bindings()
        self._count()

    def _take_earlier(self, proof: Proof) -> None:
        """Begin with what the earlier proof was set up with, so that enter goes on with it."""
        before = proof_setup.typed_before(proof)
        for name in FIELDS[:-2]:
            self._fields[name].value = getattr(before, name)
        self.checkpointing.value = before.checkpointing
        self.methods.set_offers(proof_offers.as_before(self.methods.offers, proof.methods))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._earlier is not None if action == "earlier" else True

    def action_earlier(self) -> None:
        """Open the proof that is in the folder."""
        path = output_folder(self._fields["folder"].value) / PROOF
        self.post_message(OpenRequested(path, self._state.settings))

    # -- fields --------------------------------------------------------------------------------

    def _field(self, name: str) -> Field:
        return self.query_one(f"#field-{name}", Field)

    @property
    def typed(self) -> Typed:
        """What stands in the fields."""
        values = {name: field.value for name, field in self._fields.items()}
        return Typed(**values, checkpointing=self.checkpointing.value)

    @property
    def _is_half(self) -> bool:
        return is_half(self._state.settings.device, self.typed.dtype.strip().lower())

    @on(Input.Changed, "#data, #kept, #held_out, #folder")
    def _text_changed(self, event: Input.Changed) -> None:
        """Read what is typed, a moment after the last letter."""
        name = event.input.id or ""
        if name in self._looks:
            self._looks[name].stop()
        look = self._look_again if name == "folder" else partial(self._read, name)
        self._looks[name] = self.set_timer(LOOK_SECONDS, look)

    def _look_again(self) -> None:
        self.run_worker(self._look_at_folder(), group="folder", exclusive=True)

    @on(Input.Changed, "#model")
    def _model_changed(self) -> None:
        self._field("model").show_help()

    @on(Input.Changed, "#steps, #seeds, #batch, #sequence, #rates, #dtype, #gpus, #price")
    @on(Checkbox.Changed)
    @on(MethodList.Changed)
    def _changed(self) -> None:
        self._problem = ""
        self._count()

    def _read(self, name: str) -> None:
        text = self._fields[name].value.strip()
        field = self._field(name)
        if not text or text == NO_KEPT:
            field.show_help()
            return
        self.run_worker(self._describe(name, text), group=f"read-{name}", exclusive=True)

    async def _describe(self, name: str, text: str) -> None:
        """Say beside a field what its files hold."""
        field = self._field(name)
        field.show_help("Reading …")
        is_parted = name == "data" and not self._fields["held_out"].value.strip()
        read = proof_setup.read_data if is_parted else proof_setup.read_texts
        try:
            said = await beside(partial(read, text))
        except SpectrumError as error:
            field.show_error(error.message, error.hint)
        else:
            field.show_help(printable(shortened(said, 300)))

    # -- what it takes -------------------------------------------------------------------------

    def _count(self) -> None:
        if self.is_mounted:
            self._show_costs()

    @work(exclusive=True, group="costs")
    async def _show_costs(self) -> None:
        """Say what the methods take, once it is worked out."""
        self._say()
        try:
            given = proof_setup.numbers_of(self.typed)
        except InputError:
            return
        offers = self.methods.offers
        conditions = proof_setup.conditions_with(given, checkpointing=self.typed.checkpointing)
        methods = tuple(dict.fromkeys(one.method(Path()) for one in offers))
        costs = await beside(
            partial(proof_setup.costs_of, self._choice, methods, conditions, half=self._is_half)
        )
        step = proof_setup.measured_step(self._earlier, costs, given["batch"], given["sequence"])
        self._costs = costs
        self.methods.show(costs, step, given["steps"])
        self._say()

    def _say(self) -> None:
        """Say how much it is in all, or what is wrong."""
        methods = tuple(proof_offers.checked(self.methods.offers, Path()))
        for panel in self.query("#list"):  # gone where the screen is left meanwhile
            panel.border_title = f"Methods to compare: {len(methods)} checked"
        lines = self._lines(methods)
        if self._problem:
            lines[0] = Content.styled(printable(self._problem), "$error")
        elif self._starting:
            lines[0] = Content.styled("Reading the texts and drawing the rows …", "$accent")
        self._said.update(Content("\n").join(lines))

    def _lines(self, methods: Sequence[Method]) -> list[Content]:
        if not methods:
            return [Content.styled("✗ No method is checked: space checks one.", "$error")]
        try:
            lines = [Content(proof_setup.in_all(self.typed, methods))]
        except InputError as error:
            return [Content.styled(f"✗ {error.message} {error.hint}", "$error")]
        return [*lines, *(Content.styled(text, MUTED) for text in (self._time(), self._place()))]

    def _time(self) -> str:
        estimates = [
            self._costs.estimates[method]
            for method in proof_offers.checked(self.methods.offers, Path())
            if method in self._costs.estimates
        ]
        bits = "bf16" if self._is_half else "float32"
        most = max((one.total for one in estimates), default=0.0)
        memory = f"Up to {numbers.size(most)} ({bits}, an estimate); " if most else ""
        step = self.methods.step
        seconds = proof_setup.seconds_of(self.typed, self.methods.offers, self._costs, step)
        time = "time is known after the first steps"
        if math.isfinite(seconds):
            time = f"{numbers.about(seconds)} and loading, by the steps of before"
        return memory + time

    def _place(self) -> str:
        if self._earlier is not None:
            rows = sum(not one.trial for one in self._earlier.outcomes)
            there = counted(rows, "row is", "rows are")
            return f"{there} in the folder already: what is the same is not run again"
        return "Above an hour it asks. Every finished row is kept in the folder."

    # -- the start -----------------------------------------------------------------------------

    def action_start(self) -> None:
        """Begin, unless something is wrong, which is said where it stands."""
        if self._starting:
            return
        if not self._fields["data"].value.strip():
            self._refuse("data", "Name a text to train on.", f"{GENERAL} is one that is here.")
            return
        self._starting, self._problem = True, ""
        self._say()
        self._start()

    @work(group=KEYS_WAIT)
    async def _start(self) -> None:
        offers, choice, settings = self.methods.offers, self._choice, self._state.settings
        try:
            run = await beside(partial(proof_setup.prepared, self.typed, offers, choice, settings))
        except SpectrumError as error:
            self._starting = False
            self._refuse(error.field, error.message, error.hint)
            return
        self._starting = False
        self.post_message(ProofStarted(run, self._state))

    def _refuse(self, name: str, message: str, hint: str) -> None:
        """Say what is wrong beside its field, or below."""
        name = {"output_dir": "folder", "lr": "rates"}.get(name, name)
        if name == "methods":
            self.methods.focus()
        elif name in self._fields:
            self._fields[name].focus()
        if name in ("data", "model"):
            self._say_at_field(name, message, hint)
        else:
            self._problem = f"✗ {message} {hint}"
        self._say()

    def _say_at_field(self, name: str, message: str, hint: str) -> None:
        """Say what is wrong beside a field, without the option that it is elsewhere."""
        self._field(name).show_error(message, hint.replace(": --model", ""))
        self._field(name).add_class("-shown")
