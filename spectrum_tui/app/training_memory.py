"""What a selection takes to train: how it is trained and on what card, and what follows."""

from __future__ import annotations

from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.model import ModelSizes
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.memory.ways import parse_way, way_text
from spectrum_tui.core.policy_values import Budget
from spectrum_tui.core.recipes.choice import Choice, Tiers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Selection


class TrainingMemory:
    """The way to train that is set, `training`, the memory of each GPU, `card`, where one is
    chosen, and a table of estimates for each ranking."""

    def __init__(self, result: Result, training: Training, card: Budget | None = None) -> None:
        self.training, self.card = training, card
        self._result = result
        self._sizes: ModelSizes | None = None
        self._tables: dict[int, tuple[Selection, MemoryTable]] = {}
        self._most: tuple[Training, float] | None = None

    @property
    def possible(self) -> bool:
        """Whether the model's parameters are known."""
        return bool(self._result.parameters)

    @property
    def prepared(self) -> bool:
        return self._sizes is not None

    @property
    def way(self) -> str:
        """The way to train, as a policy with a budget has it."""
        return way_text(self.training)

    @property
    def typed_card(self) -> str:
        """The memory of the card as it is typed; "" where none is chosen."""
        return self.card.text.removesuffix("GiB") if self.card else ""

    def train(self, way: str, tiers: Tiers) -> None:
        """Set the way to train; raises InputError for one that there is not."""
        self.training = parse_way(way, tiers)

    def prepare(self) -> None:
        """Read the sizes of all parameters: 0.25 s for 60,000, which no first frame waits for."""
        if self._sizes is None and self.possible:
            self._sizes = ModelSizes(self._result.parameters, self._result.embeddings)

    def estimate(self, choice: Choice, training: Training) -> Estimate:
        table = self.table(choice.selection)
        return table.estimate(choice.policy, training)

    def most(self, selection: Selection) -> float:
        """Return the bytes of training everything in the way that is set."""
        if self._most is None or self._most[0] != self.training:
            everything = self.table(selection).estimate(Policy(percent=100), self.training)
            self._most = (self.training, everything.total)
        return self._most[1]

    def table(self, selection: Selection) -> MemoryTable:
        """Return the estimates of a ranking, made once."""
        self.prepare()
        assert self._sizes is not None
        known = self._tables.get(id(selection))
        if known is None:
            known = self._tables[id(selection)] = (selection, MemoryTable(selection, self._sizes))
        return known[1]
