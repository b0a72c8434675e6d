"""What is saved by blocks that stay frozen from below: how far gradients go, what a step costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate, MemoryTable
from spectrum_tui.core.memory.presets import Training
from spectrum_tui.core.results.policy import Policy


@dataclass(frozen=True, slots=True)
class Savings:
    """`trained` is the estimate of a policy as it is to be trained, `plain` without gradient
    checkpointing; `blocks_frozen` are reached by gradients while embeddings and heads are frozen.
    """

    trained: Estimate
    plain: Estimate
    blocks_frozen: int

    @property
    def held_by_embeddings(self) -> bool:
        """Whether more blocks could be saved, but for embeddings that train below them."""
        return self.blocks_frozen < self.plain.blocks_back

    @property
    def short(self) -> str:
        """The cost of a step and what it follows from, in about 50 characters; "" without
        blocks."""
        plain = self.plain
        if not plain.blocks:
            return ""
        if self.held_by_embeddings:
            return f"embeddings train: {plain.reach}, with e {self.blocks_frozen}"
        reached = plain.reach
        if self.trained == plain:
            return f"{reached} reached, a step costs {numbers.percent(plain.step)}"
        return f"without it {reached}: step {numbers.percent(plain.step)}"

    @property
    def lines(self) -> list[str]:
        """The same in full sentences."""
        plain, trained = self.plain, self.trained
        if not plain.blocks:
            return []
        step = f"A step costs about {numbers.percent(trained.step)} of training everything"
        reach = f"gradients reach {plain.reach}"
        if trained == plain:
            said = [f"{step}: {reach}."]
        else:
            takes = f"activations take {numbers.size(plain.activations)}"
            cost = f"a step costs {numbers.percent(plain.step)} of training everything that way"
            said = [f"{step}.", f"Without gradient checkpointing {reach}, {takes}, {cost}."]
        if self.held_by_embeddings:
            said.append(
                f"Embeddings train below all blocks: frozen (--no-embeddings; e in the app), "
                f"gradients reach {self.blocks_frozen}."
            )
        return said


def savings(table: MemoryTable, policy: Policy, training: Training) -> Savings:
    """Return what a policy saves; with embeddings that train, the other case is estimated too
    (10 ms at 60,000 layers)."""
    unkept = replace(training, checkpointing=False)
    trained, plain = table.estimate(policy, training), table.estimate(policy, unkept)
    frozen = plain.blocks_back
    if policy.embeddings and frozen == plain.blocks:
        frozen = table.estimate(replace(policy, embeddings=False), unkept).blocks_back
    return Savings(trained, plain, frozen)
