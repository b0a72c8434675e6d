"""What a selection takes to train: how it is trained, and the estimates that follow from it."""

from __future__ import annotations

from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection


class TrainingMemory:
    """The way to train that is set, `training`, the memory of a card as it is typed, `card`, and a
    table of estimates for each ranking."""

    def __init__(self, result: Result, training: Training, card: str = "") -> None:
        self.training, self.card = training, card
        self._result = result
        self._sizes: ModelSizes | None = None
        self._tables: dict[int, tuple[Selection, MemoryTable]] = {}

    @property
    def possible(self) -> bool:
        """Whether the model's parameters are known."""
        return bool(self._result.parameters)

    @property
    def prepared(self) -> bool:
        return self._sizes is not None

    def prepare(self) -> None:
        """Read the sizes of all parameters: 0.25 s for 60,000, which no first frame waits for."""
        if self._sizes is None and self.possible:
            self._sizes = ModelSizes(self._result.parameters, self._result.embeddings)

    def estimate(self, choice: Choice, training: Training) -> Estimate:
        table = self.table(choice.selection)
        return table.estimate(choice.policy, training)

    def table(self, selection: Selection) -> MemoryTable:
        """Return the estimates of a ranking, made once."""
        self.prepare()
        assert self._sizes is not None
        known = self._tables.get(id(selection))
        if known is None:
            known = self._tables[id(selection)] = (selection, MemoryTable(selection, self._sizes))
        return known[1]
