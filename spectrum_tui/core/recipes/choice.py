"""What every kind of recipe is made from, and what it becomes: files that are yet to be named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray
from spectrum_tui.core.results.selection import Selection, Shape

FROZEN_EMBEDDINGS = (
    "Embeddings and head stay frozen: with gradient checkpointing, set "
    "gradient_checkpointing_kwargs use_reentrant: false or call "
    "model.enable_input_require_grads(), otherwise no gradients arrive."
)
"""What whoever freezes the embeddings has to know."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tiers and ranks of an adapter recipe, apart from the percentage at which the high tier
    ends.

    `medium_percent` is where the medium tier ends, counted from the top like the high tier's:
    high are the top `percent` of each type, medium those from there to `medium_percent` (None
    leaves that to the percentage: see `Choice.medium_end`). The ranks are LoRA's r; alpha is
    twice the rank, so that both tiers are scaled alike.
    """

    medium_percent: float | None = None
    high_rank: int = 32
    medium_rank: int = 8


def usual_medium_end(percent: float) -> float:
    """Return where the medium tier ends by default: at 50 %, or half-way from the end of the high
    tier, `percent`, to 100 % if that is at 50 % or above."""
    return 50 if percent < 50 else (percent + 100) // 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """A ranking and which of it a policy takes. `experts` asks for the policy's percentage of the
    experts within each fused parameter, instead of whole parameters; `allow_missing` takes a
    ranking that lacks more than `check.MOST_MISSING` of the chosen types."""

    selection: Selection
    policy: Policy
    tiers: Tiers = Tiers()
    experts: bool = False
    allow_missing: bool = False

    @property
    def medium_end(self) -> float:
        """Where the medium tier ends: never before the high one."""
        chosen = self.tiers.medium_percent
        if chosen is None:
            return usual_medium_end(self.percent)
        return max(self.percent, chosen)

    @property
    def percent(self) -> float:
        """Where the high tier ends."""
        return self.policy.percent

    @property
    def shape(self) -> Shape:
        """Return what of the policy does not depend on the percentage."""
        return self.selection.shape(self.policy)

    @property
    def task_modules(self) -> tuple[str, ...]:
        """The modules that hold the head of the task, as far as all of it trains."""
        result, trained = self.selection.result, self.selection.heads(self.policy)
        frozen = [one.name for one in result.task_head if one not in trained]
        modules = result.task_modules
        return tuple(m for m in modules if not any(n.startswith(f"{m}.") for n in frozen))

    def mask(self) -> BoolArray:
        """Return the layers that are selected."""
        return self.selection.mask(self.policy)


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A file to write: what its name ends with, after `snr_results_<model>`, and its text."""

    ending: str
    text: str


class RecipeKind:
    """One kind of output, known by its `name`. `options` are those that it has a use for, besides
    the ones that every kind takes."""

    name: str
    title: str
    purpose: str
    options: ClassVar[tuple[str, ...]] = ()
    is_recipe: ClassVar[bool] = True
    """Whether something is trained by what is written."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks whose models it trains, by their names in `tasks`; all where none is named."""
    names_whole: ClassVar[bool] = False
    """Whether it names what trains under keys of one trainer, so that all of a model is refused as
    in the YAML list."""

    @property
    def experts(self) -> bool:
        """Whether it can name single experts of a fused parameter."""
        return "experts" in self.options

    def ranked(self, choice: Choice) -> Choice:
        """Return the choice with its ranking within the types of this kind."""
        return choice

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the files of a choice from `ranked`, the one to read first in front.

        Raises SelectionError for a choice that must not be written.
        """
        raise NotImplementedError
