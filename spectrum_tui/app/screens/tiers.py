"""What adapters train: where the high and the medium tier end, their ranks, and what that costs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from spectrum_tui.app.key_order import KEYS_WAIT
from spectrum_tui.app.screens.dialog import Dialog
from spectrum_tui.app.screens.result_notes import result_label
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.adapter_table import AdapterRow, AdapterTable
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import KeyFooter, hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.app.widgets.tier_slider import TierSlider
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.adapter_kind import AdapterKind
from spectrum_tui.core.recipes.adapters import AdapterCount, AdapterLayers, adapter_layers
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.recipes.peft_kinds import DYNAMIC, GROUPS, HYBRID, LORA, TIERS

OFFERED = (TIERS, LORA, HYBRID, GROUPS, DYNAMIC)
GLYPHS = (("█", "$primary"), ("▓", "$secondary"), ("░", "$foreground 40%"))
"""High, medium and frozen, told apart by more than colour."""
EMBEDDINGS = "Embeddings and output head stay frozen."


@dataclass(frozen=True, slots=True)
class TierChoice:
    """What is to train, and the name of the kind of recipe."""

    choice: Choice
    kind: str


class TiersScreen(Dialog[TierChoice | None]):
    """Two sliders and a table that follows them; dismissed with what is to be saved, or None."""

    DEFAULT_CSS = """
    TiersScreen {
        & > Vertical { width: 100%; max-width: 100; height: auto; max-height: 100%; padding: 0 1; }
        & Static { height: auto; }
        & #shares { height: 2; margin: 1 0; text-wrap: nowrap; }
        & #meaning { height: 4; margin: 1 0 0 2; }
        &.-tall > Vertical { padding: 1 2; }
    }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012 - as in Textual
    AUTO_FOCUS = "TierSlider"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "rank(1)", "Rank", key_display="r R", tooltip="Double this tier's rank"),
        hidden_key("R", "rank(-1)", "Half", "Halve this tier's rank"),
        Binding("n", "kind(1)", "Recipe", tooltip="The next kind of recipe"),
        hidden_key("N", "kind(-1)", "Before", "The previous kind of recipe"),
        hidden_key("down", "app.focus_next", "Next", "To the next slider"),
        hidden_key("up", "app.focus_previous", "Previous", "To the previous slider"),
        Binding(
            "w,enter,ctrl+s",
            "save",
            "Save",
            key_display="w",
            tooltip="Continue to saving this recipe",
        ),
        Binding("escape,a", "dismiss", "Close", key_display="esc", tooltip="Close without changes"),
    ]

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self._first = choice
        self._layers: AdapterLayers | None = None
        self._problem = ""
        tiers, percent = choice.tiers, choice.percent
        self.high = TierSlider("High", "top", percent, tiers.high_rank, self._high_moved)
        self.medium = TierSlider("Medium", " to", choice.medium_end, tiers.medium_rank, self._moved)
        self.medium.lowest = percent
        self.table = AdapterTable([AdapterRow(kind.title, "") for kind in OFFERED])
        self._shares = Static(markup=False, id="shares")
        self._meaning = Static(markup=False, id="meaning")

    def compose(self) -> ComposeResult:
        with Vertical() as frame:
            frame.border_title = "Adapters in tiers"
            label = printable(result_label(self._first.selection.result))
            frame.border_subtitle = Content(label)  # a string would be read as markup
            yield self.high
            yield self.medium
            yield self._shares
            yield self.table
            yield self._meaning
        yield KeyFooter()

    def on_mount(self) -> None:
        """Look at every layer, and at the kept spectra, off the event loop."""
        self._prepare()

    @work(group=KEYS_WAIT)
    async def _prepare(self) -> None:
        self._layers = await asyncio.to_thread(_prepared, self._first)
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @property
    def choice(self) -> Choice:
        tiers = Tiers(self.medium.value, self.high.rank, self.medium.rank)
        return replace(
            self._first, policy=replace(self._first.policy, percent=self.high.value), tiers=tiers
        )

    @property
    def kind(self) -> AdapterKind:
        return OFFERED[self.table.cursor]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Greyed out: saving what the recipe would refuse."""
        return None if action == "save" and self._problem else True

    # -- keys -----------------------------------------------------------------------------------

    def _high_moved(self, value: float) -> None:
        self.medium.keep_above(value)
        self._show()

    def _moved(self, _: float) -> None:
        self._show()

    def action_rank(self, by: int) -> None:
        """Change the rank of the tier whose slider has the keys; of the high one elsewhere."""
        slider = self.medium if self.focused is self.medium else self.high
        slider.change_rank(by)

    def action_kind(self, by: int) -> None:
        self.table.cursor = (self.table.cursor + by) % len(OFFERED)

    @on(LineView.CursorMoved)
    def _chosen(self) -> None:
        self.table.refresh()
        self._show()

    def action_save(self) -> None:
        self.dismiss(TierChoice(self.choice, self.kind.name))

    # -- what it means --------------------------------------------------------------------------

    def _show(self) -> None:
        if self._layers is None or not self.is_attached:
            return
        choice = self.choice
        rows = [
            AdapterRow(kind.title, kind.trains(choice, count), count)
            for kind, count in ((kind, kind.count(choice)) for kind in OFFERED)
        ]
        self.table.show(rows)
        width = self._shares.size.width
        self._shares.update(shares(self._layers, TIERS.count(choice), width), layout=False)
        self._say(self.kind.lacking(self._layers, choice), self._layers.measure())

    def _say(self, problem: str, measure: str) -> None:
        if problem:
            text = Content.styled(f"! {problem}", "$warning")
        else:
            meaning = self.kind.meaning.replace("{measure}", measure)
            text = Content.assemble(meaning, (f" {EMBEDDINGS}", MUTED))
        self._meaning.update(text, layout=False)
        if problem != self._problem:
            self._problem = problem
            self.refresh_bindings()


def _prepared(choice: Choice) -> AdapterLayers:
    layers = adapter_layers(choice.selection)
    layers.measure()
    return layers


def shares(layers: AdapterLayers, count: AdapterCount, width: int) -> Content:
    """Return a bar of the layers in each tier, and how many those are."""
    every = int(layers.adaptable.sum())
    counts = (count.high, count.medium, every - count.high - count.medium)
    ends = [round(width * sum(counts[: i + 1]) / max(1, every)) for i in range(3)]
    cells = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    bar = [(glyph * n, style) for (glyph, style), n in zip(GLYPHS, cells, strict=True)]
    legend: list[tuple[str, str]] = []
    for (glyph, style), name, n in zip(GLYPHS, ("high", "medium", "frozen"), counts, strict=True):
        legend += [(f"{glyph} ", style), (f"{n:,} {name}   ", "")]
    rest = len(layers.adaptable) - every
    others = counted(rest, "other carries", "others carry")
    note = f"{others} no adapter" if rest else ""
    return Content("\n").join([Content.assemble(*bar), Content.assemble(*legend, (note, MUTED))])
