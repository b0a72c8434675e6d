"""The memory dialog: the way to train and the card, what every preset takes, and what fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

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
from spectrum_tui.app.widgets.memory_bar import card_name
from spectrum_tui.app.widgets.memory_table import PresetTable
from spectrum_tui.app.widgets.tick_box import TickBox
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError, SelectionError
from spectrum_tui.core.memory.budget import filled
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
from spectrum_tui.core.memory.savings import savings
from spectrum_tui.core.policy_values import PER_TYPE, Budget, card_of
from spectrum_tui.core.recipes.choice import Choice

ROOMY = 40
"""Lines of a terminal from which there are bars and assumptions."""
_ESTIMATE = "An estimate: activations depend on your run, and CUDA takes room of its own."
_CARDS = f"Cards have {', '.join(map(str, CARDS))} GiB: pgup and pgdn go through them."
_NUMBERS: dict[str, Callable[[str], int]] = {
    "gpus": parse_gpus,
    "batch": parse_batch,
    "sequence": parse_sequence,
}


class WayList(OptionList):
    """What fits, or the ways to train that would, of which one is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Choose", tooltip="Choose the way under the cursor"),
    ]


class MemoryScreen(Dialog[Choice | None]):
    """Dismissed with the choice that fits, None where none was taken. The card and how it is
    trained stay set, whatever else comes of it."""

    DEFAULT_CSS = """
    MemoryScreen {
        & > #dialog { width: 100%; max-width: 92; height: auto; max-height: 100%; padding: 0 1; }
        & Static { height: auto; }
        & PresetTable { margin: 1 0 0 0; }
        & #meaning { color: $foreground 60%; padding: 0 0 0 2; }
        & .row { height: 1; }
        & .row > Label { color: $foreground 70%; padding: 0 1 0 0; }
        & .row > Input { background: $panel; width: 8; padding: 0 1 !important; margin: 0 2 0 0; }
        & .row > Select { width: 12; margin: 0 2 0 0; }
        & SelectCurrent { background: $panel; padding: 0 1 !important; }
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
    AUTO_FOCUS = "#fit"
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
        Binding("enter", "fit", "Fit", tooltip="Take what fits, as it is offered", priority=True),
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
        self._checkpointing = TickBox("Gradient checkpointing", training.checkpointing)
        self._depth = Static(markup=False, id="depth")
        self.size_field = Input(memory.typed_card, id="fit", compact=True)
        self.answer = Static(_CARDS, markup=False, id="answer")
        self.ways = WayList(id="ways", compact=True, markup=False)
        self._found: tuple[Way, ...] = ()
        """The ways that are offered; none while the list offers what fits."""
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
                yield Label("GiB on each GPU, marked on the bar")
            yield self.answer
            yield self.ways
            yield self._foot
        yield KeyFooter()

    def on_mount(self) -> None:
        self._read_card()
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
        self._show()

    @on(Input.Changed, "#fit")
    def _typed(self) -> None:
        self._read_card()
        self._offer()

    def _read_card(self) -> None:
        """Take the card that is typed; none where that is no size."""
        try:
            self._memory.card = card_of(self.size_field.value)
        except InputError:
            self._memory.card = None
        self.table.limit = self._memory.card.amount if self._memory.card else 0.0

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
        self._show()

    def _show(self) -> None:
        training = self._memory.training
        self._divided.display = self._sharding.display = training.gpus > 1
        self.table.chosen = PRESETS.index(training.preset)
        every = (replace(training, preset=preset) for preset in PRESETS)
        estimates = [self._memory.estimate(self._choice, way) for way in every]
        self.table.show(estimates)
        table = self._memory.table(self._choice.selection)
        self._depth.update(savings(table, self._choice.policy, training).short)
        meaning = filter(None, (training.preset.meaning, training.ranks))
        self._meaning.update(", ".join(meaning))
        self._offer()

    # -- what fits ----------------------------------------------------------------------------

    def _offer(self) -> None:
        """Offer what fits into the card, the highlighted one to be taken with enter."""
        card = self._memory.card
        if card is None:
            self._say("")
            return
        found = self._fit(card)
        if not found.percent:
            self._say(f"✗ {found.text}. Enter: what would.", "$warning")
            return
        plain = replace(self._choice.policy.without_budget(), percent=found.percent)
        percent = f"{plain.rule_words}: about {numbers.size(found.needs)}"
        budget = f"a budget of {card_name(card)}: layer by layer, as many as it holds"
        self._found = ()
        self._list("✓ It fits; enter takes (tab to the list):", "$success", [percent, budget])
        self.ways.highlighted = int(self._choice.policy.budget is not None)

    def _fit(self, card: Budget) -> Fit:
        table = self._memory.table(self._choice.selection)
        return fit(table, card.amount, self._choice.policy, self._memory.training)

    def action_fit(self) -> None:
        """Leave with what is highlighted of what fits, or say what else would."""
        try:
            found = self._fit(card_of(self.size_field.value))
        except InputError as error:
            self._say(f"✗ {error.message} {error.hint}", "$error")
            return
        if found.percent:
            self._take(self.ways.highlighted or 0)
        else:
            self._refuse(found)

    def _refuse(self, found: Fit) -> None:
        """Nothing fits: say so, and offer what would."""
        advice = "These would fit, enter chooses:" if found.ways else "Only a smaller model fits."
        self._say("")
        text = Content.assemble((f"✗ {found.text}", "$warning"), "\n", (advice, "$foreground"))
        self.answer.update(text)
        if found.ways:
            self._found = found.ways
            self._list(text, "", [f"{way.words} ({way.percent:g} %)" for way in found.ways])
            self.ways.highlighted = 0
            self.call_after_refresh(self.ways.focus)

    def _list(self, text: str | Content, style: str, options: Sequence[str]) -> None:
        self.answer.update(Content.styled(text, style) if isinstance(text, str) else text)
        self.ways.clear_options().add_options(map(Option, options))
        self.add_class("-ways")

    @on(OptionList.OptionSelected, "#ways")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        """Train in a way that is offered, which stays set, or take what fits."""
        if not self._found:
            self._take(event.option_index)
            return
        way = self._found[event.option_index]
        self._memory.training = way.training
        self._leave(percent=way.percent, embeddings=way.embeddings)

    def _take(self, offer: int) -> None:
        """Leave with the highest percentage that fits (0), or with a budget (1)."""
        card = self._memory.card
        assert card is not None
        if offer == 0:
            found = self._fit(card)
            self.app.notify(f"{found.text}.", title="Fits (an estimate)", markup=False)
            self._leave(percent=found.percent)
            return
        selection, training = self._choice.selection, self._memory.training
        # A budget takes the place of a rule, which would stand beside it in the file.
        policy = replace(self._choice.policy, budget=card, way=self._memory.way, rule=PER_TYPE)
        try:
            full = filled(policy, selection, training.tiers, self._memory.table(selection))
        except SelectionError as error:
            self._say(f"✗ {error.message} {error.hint}", "$error")
            return
        self._leave(budget=full.budget, way=full.way, layers=full.layers, rule=full.rule)

    def _leave(self, **changes: Any) -> None:
        policy = replace(self._choice.policy.without_budget(), **changes)
        self.dismiss(replace(self._choice, policy=policy))

    def _say(self, text: str, style: str = MUTED) -> None:
        """Say something in place of what was offered."""
        if self.focused is self.ways:
            self.size_field.focus()
        self.remove_class("-ways")
        self.answer.update(Content.styled(text or _CARDS, style))
