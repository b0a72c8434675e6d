"""The memory dialog: what a selection takes under every preset, and what fits into N GiB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Checkbox, Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.memory_table import PresetTable
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.memory.estimate import ASSUMPTIONS
from spectrum_tui.core.memory.fit import Fit, Way, fit
from spectrum_tui.core.memory.presets import (
    CARDS,
    PRESETS,
    SHARDINGS,
    parse_batch,
    parse_gpus,
    parse_sequence,
    sharding_named,
)
from spectrum_tui.core.policy_values import parse_memory
from spectrum_tui.core.recipes.choice import Choice

ROOMY = 40
"""Lines of a terminal from which there are bars and assumptions."""
_ESTIMATE = "An estimate: activations depend on your run, and CUDA takes room of its own."
_OFFER = f"Cards have {', '.join(map(str, CARDS))} GiB: pgup and pgdn go through them."
_NUMBERS: dict[str, Callable[[str], int]] = {
    "gpus": parse_gpus,
    "batch": parse_batch,
    "sequence": parse_sequence,
}


class WayList(OptionList):
    """The ways to train that would fit, of which one is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Choose", tooltip="Choose the way under the cursor"),
    ]


class MemoryScreen(Dialog[Choice | None]):
    """Dismissed with the choice that fits, None where nothing was asked. How it is trained
    stays set, whatever else comes of it."""

    DEFAULT_CSS = """
    MemoryScreen {
        & > #dialog { width: 100%; max-width: 92; height: auto; max-height: 100%; padding: 0 1; }
        & Static { height: auto; }
        & PresetTable { margin: 1 0 0 0; }
        & #meaning { color: $foreground 60%; padding: 0 0 0 2; text-wrap: nowrap; }
        & .row { height: 1; }
        & .row > Label { color: $foreground 70%; padding: 0 1 0 0; }
        & .row > Input { background: $panel; width: 8; padding: 0 1 !important; margin: 0 2 0 0; }
        & .row > Select { width: 12; margin: 0 2 0 0; }
        & SelectCurrent { background: $panel; padding: 0 1 !important; }
        & Checkbox { border: none; padding: 0; background: $surface; }
        & #depth { width: 1fr; color: $foreground 60%; padding: 0 0 0 2; text-wrap: nowrap; }
        & #inputs { margin: 1 0 0 0; }
        & #question > Label { color: $foreground; text-style: bold; }
        & #question > Input { width: 9; }
        & #answer { min-height: 3; }
        & #ways {
            display: none; height: auto; max-height: 3; border: none; padding: 0;
            background: $surface; text-wrap: nowrap; text-overflow: ellipsis;
        }
        &.-ways { & #ways { display: block; } & #answer { min-height: 1; } }
        &.-ways.-short #foot { display: none; }
        &.-tall #ways { max-height: 8; }
        & #foot { color: $foreground 60%; }
        &.-tall #foot, &.-tall #answer, &.-tall #question { margin: 1 0 0 0; }
        &.-tall.-ways #foot, &.-tall.-ways #answer { margin: 0; }
    }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (ROOMY, "-tall")]  # noqa: RUF012 - as in Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        # Before the fields get them: an input takes the arrows to scroll, which it never does.
        Binding(
            "down",
            "preset(1)",
            "Preset",
            key_display="↑↓",
            tooltip="The next way to train",
            priority=True,
        ),
        hidden_key("up", "preset(-1)", "Previous preset", "The previous way", priority=True),
        Binding(
            "enter", "fit", "Fit", tooltip="Set the slider to the highest that fits", priority=True
        ),
        Binding("pageup", "card(1)", "Card", key_display="pgup pgdn", tooltip="A larger card"),
        hidden_key("pagedown", "card(-1)", "Previous card", "A smaller card"),
        Binding("escape", "dismiss", "Close", key_display="esc", tooltip="Back to the results"),
    ]

    def __init__(self, memory: TrainingMemory, choice: Choice) -> None:
        super().__init__()
        self._memory, self._choice = memory, choice
        training = memory.training
        self.table = PresetTable()
        self._meaning = Static(markup=False, id="meaning")
        self._inputs = {
            name: Input(str(getattr(training, name)), id=name, compact=True) for name in _NUMBERS
        }
        self._sharding = Select(
            [(sharding.title, sharding.name) for sharding in SHARDINGS],
            value=training.sharding.name,
            allow_blank=False,
            id="sharding",
            compact=True,
        )
        self._divided = Label("Divided by")
        self._checkpointing = Checkbox("Gradient checkpointing", training.checkpointing)
        self._depth = Static(markup=False, id="depth")
        self.size_field = Input(memory.card, id="fit", compact=True)
        self.answer = Static(_OFFER, markup=False, id="answer")
        self.ways = WayList(id="ways", compact=True, markup=False)
        self._found: tuple[Way, ...] = ()
        self._foot = Static(_ESTIMATE, markup=False, id="foot")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as dialog:
            dialog.border_title = f"Memory to train {self._choice.policy.words}"
            yield Static(self._trains(), markup=False)
            yield self.table
            yield self._meaning
            with Horizontal(id="inputs", classes="row"):
                for name, title in (("gpus", "GPUs"), ("batch", "Batch"), ("sequence", "Tokens")):
                    yield Label(title)
                    yield self._inputs[name]
                yield self._divided
                yield self._sharding
            with Horizontal(classes="row"):
                yield self._checkpointing
                yield self._depth
            with Horizontal(id="question", classes="row"):
                yield Label("Fit into")
                yield self.size_field
                yield Label("GiB on each GPU: enter sets the slider")
            yield self.answer
            yield self.ways
            yield self._foot
        yield KeyFooter()

    def on_mount(self) -> None:
        self.size_field.focus()
        self._show()

    def on_resize(self) -> None:
        tall = self.size.height >= ROOMY
        self.table.bars = tall
        assumed = [f"  {text}" for text in ASSUMPTIONS] if tall else []
        self._foot.update("\n".join([_ESTIMATE, *assumed]))

    def _trains(self) -> Content:
        choice = self._choice
        result = choice.selection.result
        totals = choice.selection.totals(choice.policy)
        embeddings = ", with embeddings and head" if choice.selection.heads(choice.policy) else ""
        share, whole = numbers.percent(totals.share), numbers.count(result.total_parameters)
        trained = numbers.count(totals.parameters)
        return Content(f"{trained} of {whole} parameters train ({share}){embeddings}")

    # -- what it depends on -------------------------------------------------------------------

    @on(Input.Changed, "#gpus, #batch, #sequence")
    @on(Select.Changed)
    @on(Checkbox.Changed)
    def _changed(self) -> None:
        try:
            given = {name: parse(self._inputs[name].value) for name, parse in _NUMBERS.items()}
        except InputError as error:
            self._say(f"✗ {error.message} {error.hint}", "$error")
            return
        self._memory.training = replace(
            self._memory.training,
            gpus=given["gpus"],
            batch=given["batch"],
            sequence=given["sequence"],
            sharding=sharding_named(str(self._sharding.value)),
            checkpointing=self._checkpointing.value,
        )
        self._say("")
        self._show()

    @on(Input.Changed, "#fit")
    def _typed(self) -> None:
        self._say("")
        try:
            self.table.limit = parse_memory(self.size_field.value)
        except InputError:
            self.table.limit = 0.0
        else:
            self._memory.card = self.size_field.value.strip()

    def action_card(self, by: int) -> None:
        larger = [card for card in CARDS if card * 2.0**30 > self.table.limit]
        smaller = [card for card in CARDS if card * 2.0**30 < self.table.limit]
        if card := (larger[:1] if by > 0 else smaller[-1:]):
            self.size_field.value = str(card[0])
            self.size_field.cursor_position = len(self.size_field.value)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave these keys to a list and a box, which have a use for them."""
        own = ("preset", "fit", "card")
        return isinstance(self.focused, Input) if action in own else True

    def action_preset(self, by: int) -> None:
        self._choose((PRESETS.index(self._memory.training.preset) + by) % len(PRESETS))

    @on(PresetTable.Chosen)
    def _clicked(self, event: PresetTable.Chosen) -> None:
        self._choose(event.index)

    def _choose(self, index: int) -> None:
        self._memory.training = replace(self._memory.training, preset=PRESETS[index])
        self._say("")
        self._show()

    def _show(self) -> None:
        training = self._memory.training
        self._divided.display = self._sharding.display = training.gpus > 1
        self.table.chosen = PRESETS.index(training.preset)
        every = (replace(training, preset=preset) for preset in PRESETS)
        estimates = [self._memory.estimate(self._choice, way) for way in every]
        self.table.show(estimates)
        shown = estimates[self.table.chosen]
        without = f"without it, gradients reach {shown.blocks_back} of {shown.blocks} blocks"
        self._depth.update(without if shown.blocks else "")
        meaning = filter(None, (training.preset.meaning, training.ranks))
        self._meaning.update(", ".join(meaning))

    # -- the question -------------------------------------------------------------------------

    def action_fit(self) -> None:
        """Leave with the highest percentage that fits, or say what else would."""
        try:
            limit = parse_memory(self.size_field.value)
        except InputError as error:
            self._say(f"✗ {error.message} {error.hint}", "$error")
            return
        policy, table = self._choice.policy, self._memory.table(self._choice.selection)
        found = fit(table, limit, policy, self._memory.training)
        if found.percent:
            self.app.notify(f"{found.text}.", title="Fits (an estimate)", markup=False)
            self._leave(found.percent, embeddings=policy.embeddings)
        else:
            self._refuse(found)

    def _refuse(self, found: Fit) -> None:
        """Nothing fits: say so, and offer what would."""
        advice = "These would fit, enter chooses:" if found.ways else "Only a smaller model fits."
        self._say("")
        self.answer.update(
            Content.assemble((f"✗ {found.text}", "$warning"), "\n", (advice, "$foreground"))
        )
        if found.ways:
            self._found = found.ways
            options = [Option(f"{way.words} ({way.percent} %)") for way in found.ways]
            self.ways.clear_options().add_options(options)
            self.ways.highlighted = 0
            self.add_class("-ways")
            self.call_after_refresh(self.ways.focus)

    @on(OptionList.OptionSelected, "#ways")
    def _way_chosen(self, event: OptionList.OptionSelected) -> None:
        """Train in that way, which stays set."""
        way = self._found[event.option_index]
        self._memory.training = way.training
        self._leave(way.percent, embeddings=way.embeddings)

    def _leave(self, percent: float, *, embeddings: bool) -> None:
        policy = replace(
            self._choice.policy, percent=percent, embeddings=embeddings, budget=None, layers=None
        )
        self.dismiss(replace(self._choice, policy=policy))

    def _say(self, text: str, style: str = MUTED) -> None:
        """Say something in place of the ways that were offered."""
        if self.focused is self.ways:
            self.size_field.focus()
        self.remove_class("-ways")
        self.answer.update(Content.styled(text or _OFFER, style))
