"""What a person chose to train, as a value: a rule, and what goes before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from spectrum_tui.core.numbers import counted
from spectrum_tui.core.policy_values import (
    PER_TYPE,
    RULES,
    Blocks,
    Budget,
    TypePercents,
    blocks_text,
)
from spectrum_tui.core.settings import DEFAULT_PERCENT, Settings

STEPS_OF_A_PERCENT = 10
"""A percentage has one decimal: every layer of a type of 1,000 can be told from the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What trains. The default is the reference tool's: one percentage for every type.

    `rule` says of what `percent` is: of each type ("per-type"), of all layers by their score
    ("global") or by the share of their type that ranks before them ("global-rank"). A `budget`
    takes the place of both: as many of the best by that share as it holds when they are trained in
    this `way`, which are `layers` (`memory.budget.filled` counts them: None until then).
    `type_percents` gives types that a shell pattern matches a percentage of their own, the last
    one that matches. Only layers inside `blocks` train, where any are given. `pins` train and
    `bans` do not, whatever else is said: layers by name or shell pattern; a ban goes before a pin.
    `embeddings` says whether embeddings and heads train.
    """

    percent: float = DEFAULT_PERCENT
    embeddings: bool = True
    rule: str = PER_TYPE
    type_percents: TypePercents = ()
    blocks: Blocks = ()
    pins: tuple[str, ...] = ()
    bans: tuple[str, ...] = ()
    budget: Budget | None = None
    way: str = ""
    layers: int | None = None

    @property
    def shape(self) -> Policy:
        """Return what remains the same while the percentage moves, embeddings are switched and a
        budget is filled anew."""
        return replace(self, percent=0, embeddings=True, layers=None)

    @property
    def is_plain(self) -> bool:
        """Whether it is one percentage for every type, all that spectrum.py knows."""
        return self.shape == Policy(percent=0)

    @property
    def is_per_type(self) -> bool:
        """Whether the percentage is of each type."""
        return self.rule == PER_TYPE and self.budget is None

    def without_budget(self) -> Policy:
        """Return the policy by its rule and percentage, in whatever way it trains."""
        return replace(self, budget=None, layers=None, way="")

    @property
    def step(self) -> int:
        """The percentage on the grid of thresholds: tenths of a percent."""
        return step_of(self.percent)

    @property
    def words(self) -> str:
        """What is taken, as the end of a sentence: `the top 25 % of each layer type`."""
        return self.words_by("")

    def words_by(self, metric: str) -> str:
        """Return what is taken, and by which metric: `the top 25 % of each layer type by …`."""
        rule = f"{self.rule_words} by {metric}" if metric else self.rule_words
        return ", ".join((rule, *self._besides()))

    @property
    def rule_words(self) -> str:
        """What is taken by the rule alone: `the top 25 % of each layer type`."""
        if self.budget is None:
            return f"the top {self.percent:g} % {RULES[self.rule].words}"
        what = "" if self.budget.in_bytes else " parameters"
        return f"the best layers by rank in their type that fit into {self.budget.text}{what}"

    @property
    def besides(self) -> str:
        """What is chosen besides a percentage or a budget, in words; "" where nothing is."""
        return ", ".join(self._besides())

    @property
    def besides_in_short(self) -> str:
        """The same without the names of types."""
        own = len(self.type_percents)
        others = list(self._besides())[own:]
        return ", ".join([counted(own, "own percentage"), *others] if own else others)

    def _besides(self) -> Iterator[str]:
        yield from (f"{percent:g} % of {pattern}" for pattern, percent in self.type_percents)
        if self.blocks:
            yield f"blocks {blocks_text(self.blocks)} only"
        if self.pins:
            yield counted(len(self.pins), "pin")
        if self.bans:
            yield counted(len(self.bans), "ban")

    @property
    def ending(self) -> str:
        """Return what the name of a file of it says: `25percent`, `24GiB`, `25percent_shaped`."""
        if self.budget is not None:
            start = self.budget.text
        else:
            rule = "" if self.is_per_type else f"{self.rule}_"
            start = f"{rule}{self.percent:g}percent"
        return f"{start}_shaped" if self._is_shaped else start

    @property
    def _is_shaped(self) -> bool:
        return bool(self.type_percents or self.blocks or self.pins or self.bans)


def step_of(percent: float) -> int:
    """Return a percentage in tenths of a percent."""
    return round(percent * STEPS_OF_A_PERCENT)


def policy_of(settings: Settings) -> Policy:
    """Return the policy that the settings ask for; a budget is not filled yet."""
    return Policy(
        percent=settings.top_percent,
        embeddings=not settings.no_embeddings,
        rule=settings.rule,
        type_percents=settings.type_percents,
        blocks=settings.blocks,
        pins=settings.pins,
        bans=settings.bans,
        budget=settings.budget,
        way="" if settings.budget is None else settings.way,
    )


def settings_with(settings: Settings, policy: Policy) -> Settings:
    """Return the settings that ask for a policy."""
    return replace(
        settings,
        top_percent=policy.percent,
        no_embeddings=not policy.embeddings,
        rule=policy.rule,
        type_percents=policy.type_percents,
        blocks=policy.blocks,
        pins=policy.pins,
        bans=policy.bans,
        budget=policy.budget,
        way=policy.way or settings.way,
    )
