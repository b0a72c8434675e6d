"""What every trainer would make of a recipe: wanted, matched, unintended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import Parameter
from spectrum_tui.core.trainers.matching import Hits, hits
from spectrum_tui.core.trainers.names import Names
from spectrum_tui.core.trainers.patterns import NAME, Understand, anywhere
from spectrum_tui.core.trainers.recipe_text import RecipeText, StopsError
from spectrum_tui.core.trainers.trainers import TRAINERS, Trainer


@dataclass(frozen=True, kw_only=True)
class TrainerReport:
    """What one trainer would do.

    `wanted` and `matched` count parameters that are meant to train, and those of them that do;
    `unintended` are the others that do. `problem` says why the trainer would end with an error
    before it trains anything, or why it cannot be told.
    """

    trainer: Trainer
    wanted: int
    matched: int
    unintended: tuple[str, ...] = ()
    problem: str = ""
    trains: frozenset[str] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether exactly what is meant to train does, and that is something."""
        all_of_it = 0 < self.wanted == self.matched
        return all_of_it and not self.problem and not self.unintended


class Reporter:
    """Reports on texts for one model; what depends on its names alone is made once."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._sizes = {p.name: p.shape[0] if p.shape else 0 for p in parameters}
        self.names = Names(self._sizes)
        self._hits: dict[tuple[Understand, tuple[str, ...]], Hits] = {}
        self._exact: dict[tuple[str, ...], bool] = {}

    def hits(self, patterns: tuple[str, ...], understand: Understand) -> Hits:
        """Return what patterns match, found once however many trainers take them so."""
        if self._stand_for_themselves(patterns):
            understand = anywhere
        return self._found(patterns, understand)

    def _stand_for_themselves(self, patterns: tuple[str, ...]) -> bool:
        """Return whether each is the name of a parameter and, in the widest sense of any trainer,
        matches none that is not listed: they mean the same to all trainers then."""
        if patterns not in self._exact:
            self._exact[patterns] = all(
                name in self._sizes and NAME.fullmatch(name) for name in patterns
            ) and self._found(patterns, anywhere).all == set(patterns)
        return self._exact[patterns]

    def _found(self, patterns: tuple[str, ...], understand: Understand) -> Hits:
        key = (understand, patterns)
        if key not in self._hits:
            with without_collections():  # of 100,000 small objects that all stay: half the time
                self._hits[key] = hits(patterns, understand, self.names)
        return self._hits[key]

    def of(self, trainer: Trainer, document: RecipeText, wanted: Collection[str]) -> TrainerReport:
        """Return what one trainer would do with the text."""
        meant = frozenset(wanted)
        try:
            patterns = trainer.read(document)
            _accept(trainer, patterns)
            found = self.hits(patterns, trainer.understand)
            _refuse_invalid(found)
            self._refuse_rows(found)
        except StopsError as exc:
            return TrainerReport(
                trainer=trainer, wanted=len(meant), matched=0, problem=f"stops: {exc}"
            )
        everything = not patterns and trainer.of_nothing == "everything"
        trains = frozenset(self._sizes) if everything else frozenset(found.all)
        others = trains - meant
        in_order = tuple(name for name in self.names.names if name in others) if others else ()
        return TrainerReport(
            trainer=trainer,
            wanted=len(meant),
            matched=len(trains & meant),
            unintended=in_order,
            problem=_untried(found),
            trains=trains,
        )

    def _refuse_rows(self, found: Hits) -> None:
        """Raise StopsError where a pattern asks for rows that a parameter does not have; its size
        is 0 where that is unknown."""
        for pattern, (first, end) in found.rows.items():
            for name in found.of(pattern):
                size = self._sizes[name]
                after = size if end is None else end
                if size and (after > size or first >= after):
                    rows = counted(size, "row")
                    raise StopsError(f"{name} has {rows}, but {first} to {after} are asked for")


def _accept(trainer: Trainer, patterns: Sequence[str]) -> None:
    if trainer.most and len(patterns) > trainer.most:
        raise StopsError(f"{len(patterns):,} lines, more than the {trainer.most:,} it accepts")
    longest = max(map(len, patterns), default=0)
    if trainer.longest and longest > trainer.longest:
        raise StopsError(
            f"a line of {longest:,} characters, more than the {trainer.longest} it accepts"
        )


def _refuse_invalid(found: Hits) -> None:
    for pattern, why in found.invalid.items():
        raise StopsError(f"at {_short(pattern)}, {why}")


def _untried(found: Hits) -> str:
    if not found.untried:
        return ""
    pattern, why = next(iter(found.untried.items()))
    more = len(found.untried) - 1
    others = f", and {more:,} more" if more else ""
    return f"cannot be told: {_short(pattern)} was not tried, {why}{others}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def report(
    text: str,
    wanted: Collection[str],
    parameters: Iterable[Parameter],
    trainers: Sequence[Trainer] = TRAINERS,
) -> tuple[TrainerReport, ...]:
    """Return what every trainer would do with a recipe's text and a model of these parameters, of
    which `wanted` are meant to train. Never raises for what the text holds."""
    reporter, document = Reporter(parameters), RecipeText(text)
    return tuple(reporter.of(trainer, document, wanted) for trainer in trainers)
