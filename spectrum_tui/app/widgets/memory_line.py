"""What the selection takes to train, in one line: it follows the slider."""

from __future__ import annotations

from dataclasses import replace

from spectrum_tui.app.widgets.totals_line import TotalsLine
from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import NO_SIZES, ModelSizes
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection

TALL = 32
"""Lines of a terminal from which this has one of its own; below, the totals end with it."""
HOW_TO_SIZE = f"{NO_SIZES} Start with --sizes-from MODEL: a folder, or a model in the hub's cache."


class MemoryLine(TotalsLine):
    """The sum at the left, its parts at the right. `training` is what the sum is for."""

    def __init__(self, result: Result, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.training = Training()
        self._result = result
        self._sizes: ModelSizes | None = None
        self._tables: dict[int, tuple[Selection, MemoryTable]] = {}
        if not self.possible:
            self.display = False

    @property
    def possible(self) -> bool:
        """Whether the model's parameters are known."""
        return bool(self._result.parameters)

    def prepare(self) -> None:
        """Read the sizes of all parameters: 0.25 s for 60,000, which no first frame waits for."""
        if self._sizes is None and self.possible:
            self._sizes = ModelSizes(self._result.parameters, self._result.embeddings)

    def estimate(self, choice: Choice, training: Training) -> Estimate:
        table = self.table(choice.selection)
        return table.estimate(choice.percent, training, embeddings=choice.embeddings)

    def table(self, selection: Selection) -> MemoryTable:
        """Return the estimates of a ranking, made once."""
        self.prepare()
        assert self._sizes is not None
        known = self._tables.get(id(selection))
        if known is None:
            known = self._tables[id(selection)] = (selection, MemoryTable(selection, self._sizes))
        return known[1]

    def follow(self, choice: Choice) -> tuple[str, ...]:
        """Show what a choice takes; returns what the totals may go on with, longest first."""
        if self._sizes is None or choice.percent < choice.selection.smallest_percent():
            self.show("", "")
            return ()
        if choice.tiers != self.training.tiers:
            self.training = replace(self.training, tiers=choice.tiers)
        estimate = self.estimate(choice, self.training)
        how = how_text(self.training)
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
