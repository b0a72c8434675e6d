"""What the selection takes to train, in one line: it follows the slider."""

from __future__ import annotations

from dataclasses import replace

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.recipes.choice import Choice

TALL = 32
"""Lines of a terminal from which this has one of its own; below, the totals end with it."""


class MemoryLine(TotalsLine):
    """The sum at the left, its parts at the right."""

    def __init__(self, memory: TrainingMemory, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._memory = memory
        if not memory.possible:
            self.display = False

    def follow(self, choice: Choice) -> tuple[str, ...]:
        """Show what a choice takes; returns what the totals may go on with, longest first."""
        memory = self._memory
        if not memory.prepared or not choice.selection.selects_any(choice.policy):
            self.show("", "")
            return ()
        if choice.tiers != memory.training.tiers:
            memory.training = replace(memory.training, tiers=choice.tiers)
        estimate = memory.estimate(choice, memory.training)
        how = how_text(memory.training)
        about = f"about {numbers.size(estimate.total)}"
        self.show(f"{about[:1].upper()}{about[1:]} {how}", parts_text(estimate))
        if self.app.size.height >= TALL:
            return ()
        return (f" · {about} {how}", f" · {about} to train", f" · {about}")


def how_text(training: Training) -> str:
    if training.gpus == 1:
        return f"to train ({training.preset.title})"
    shared = "" if training.sharding.name == "none" else f", {training.sharding.title}"
    return f"on each of {training.gpus} GPUs ({training.preset.title}{shared})"


def parts_text(estimate: Estimate) -> str:
    return " · ".join(f"{numbers.size(value)} {name}" for name, value in estimate.parts.items())
