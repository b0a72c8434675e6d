"""What the selection takes to train, against the card that is chosen: it follows every control."""

from __future__ import annotations

from dataclasses import replace

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.memory_bar import PARTS, card_name, fits_text, memory_bar
from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.recipes.choice import Choice

TALL = 32
"""Lines of a terminal from which this has lines of its own; below, the totals end with it."""
_FITS = 27
"""Cells for whether it fits, so that the bar keeps its length."""
_Drawn = tuple[Estimate, Training, float, float]


class MemoryLine(Widget):
    """The sum and its parts, and below them a bar with a mark at the card's memory."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    MemoryLine { height: 2; width: 1fr; color: $foreground; text-wrap: nowrap; }
    """

    def __init__(self, memory: TrainingMemory, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._memory = memory
        self._drawn: _Drawn | None = None
        if not memory.possible:
            self.display = False

    def follow(self, choice: Choice) -> tuple[str, ...]:
        """Show what a choice takes; returns what the totals may go on with, longest first."""
        memory = self._memory
        if not memory.prepared or not choice.selection.selects_any(choice.policy):
            self._draw(None)
            return ()
        if choice.tiers != memory.training.tiers:
            memory.training = replace(memory.training, tiers=choice.tiers)
        estimate = memory.estimate(choice, memory.training)
        limit = memory.card.amount if memory.card else 0.0
        self._draw((estimate, memory.training, memory.most(choice.selection), limit))
        return () if self.app.size.height >= TALL else self._in_words(estimate)

    def _in_words(self, estimate: Estimate) -> tuple[str, ...]:
        how, size = how_text(self._memory.training), numbers.size(estimate.total)
        card = self._memory.card
        if card is None:
            return (f" · about {size} {how}", f" · about {size} to train", f" · about {size}")
        room = f"{'✓' if estimate.total <= card.amount else '✗'} {card_name(card)}"
        return (f" · about {size} {how} {room}", f" · about {size} {room}", f" · {size} {room}")

    def _draw(self, drawn: _Drawn | None) -> None:
        if drawn != self._drawn:
            self._drawn = drawn
            self.refresh()

    def render(self) -> Content:
        if self._drawn is None:
            return Content("")
        estimate, training, most, limit = self._drawn
        about, parts = f"About {numbers.size(estimate.total)}", parts_text(estimate)
        room = self.size.width - parts.cell_length - 2
        ways = [f"{about} {how_text(training)}"]
        ways += [f"{about} ({training.preset.title})"] if training.gpus == 1 else []
        about = next((text for text in ways if cell_len(text) <= room), "")
        gap = self.size.width - cell_len(about) - parts.cell_length
        first = [(about, "bold"), " " * gap, parts] if about else [(ways[0], "bold")]
        said, colour = "f sets your card", MUTED
        if self._memory.card:
            said, colour = fits_text(estimate, self._memory.card)
        width = max(1, self.size.width - _FITS - 1)
        bar = memory_bar(estimate, width, most=max(most, limit, 1.0), limit=limit, track="─")
        return Content("\n").join(
            [Content.assemble(*first), Content.assemble(bar, (f" {said:>{_FITS}}", colour))]
        )


def how_text(training: Training) -> str:
    if training.gpus == 1:
        return f"to train ({training.preset.title})"
    shared = "" if training.sharding.name == "none" else f", {training.sharding.title}"
    return f"on each of {training.gpus} GPUs ({training.preset.title}{shared})"


def parts_text(estimate: Estimate) -> Content:
    """Return the parts of the sum, each with its glyph in the bar."""
    return Content(" ").join(
        Content.assemble((glyph, colour), (f" {numbers.size(estimate.parts[name])} {name}", MUTED))
        for name, glyph, colour in PARTS
    )
