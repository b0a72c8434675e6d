"""What each line of a recipe is meant to train in a given model."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from spectrum_tui.core.audit.aliases import Found, by_aliases, by_beginning
from spectrum_tui.core.audit.entries import RecipeEntry, plain_name
from spectrum_tui.core.audit.renamed import modern, older_names
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.results.results import Parameter
from spectrum_tui.core.trainers.matching import Hits
from spectrum_tui.core.trainers.patterns import at_start
from spectrum_tui.core.trainers.reports import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """One line: the parameters that it is meant to train, and those that it does match as a
    regular expression at the beginning, which is how most trainers match.

    `renamed` says that the names are others than the line's; `tied` that it names a tensor that
    the model has under another name.
    """

    entry: RecipeEntry
    names: tuple[str, ...]
    matched: tuple[str, ...]
    renamed: bool = False
    tied: bool = False
    untried: str = ""

    @property
    def dead(self) -> bool:
        """Whether it matches nothing."""
        return not self.matched and not self.untried

    @property
    def lost(self) -> bool:
        """Whether it means nothing of the model, as far as that is known."""
        return self.dead and not self.names

    def too_much(self, meant: Container[str]) -> list[str]:
        """Return what it matches of what no line means."""
        return [name for name in self.matched if name not in meant]


class Model:
    """A model's names, with the ways to find one."""

    def __init__(self, names: ModelNames) -> None:
        self.known = names
        pairs = zip(names.names, names.rows, strict=True)
        self.parameters = [Parameter(name, (rows,) if rows else ()) for name, rows in pairs]
        self.reporter = Reporter(self.parameters)
        self._all = set(names.names)
        self._tied = dict(names.tied)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Elements of every parameter."""
        return dict(zip(self.known.names, self.known.sizes, strict=True))

    @cached_property
    def _stored(self) -> dict[str, list[str]]:
        """Names in the checkpoint, those of modules too, and the parameters that hold them."""
        found: dict[str, list[str]] = {}
        for stored, name in self.known.stored:
            found.setdefault(stored, []).append(name)
            found.setdefault(stored.rpartition(".")[0], []).append(name)
        return found

    def meanings(self, entries: Sequence[RecipeEntry]) -> list[Meaning]:
        """Return what each line means and matches."""
        patterns = tuple(dict.fromkeys(entry.pattern for entry in entries))
        hits = self.reporter.hits(patterns, at_start)
        found = [self._meaning(entry, hits) for entry in entries]
        lost = tuple(dict.fromkeys(one.entry.pattern for one in found if one.lost))
        others = self._otherwise(lost) if lost else {}
        return [
            replace(one, names=others[one.entry.pattern], renamed=True)
            if one.lost and one.entry.pattern in others
            else one
            for one in found
        ]

    def _otherwise(self, patterns: Sequence[str]) -> Found:
        """Return what patterns mean that match nothing: as the checkpoint, older versions or other
        classes have the names."""
        older = ((old, name) for name in self.known.names for old in older_names(name))
        found = by_aliases(patterns, chain(self.known.stored, older))
        left = [pattern for pattern in patterns if pattern not in found]
        return found | by_beginning(left, self.known.names)

    def _meaning(self, entry: RecipeEntry, hits: Hits) -> Meaning:
        pattern, name = entry.pattern, plain_name(entry.pattern)
        matched = tuple(hits.of(pattern))
        untried = hits.untried.get(pattern, "") or hits.invalid.get(pattern, "")
        if not name:
            return Meaning(entry=entry, names=matched, matched=matched, untried=untried)
        names = self.named(name)
        if names:
            return Meaning(entry=entry, names=names, matched=matched)
        if tied := self._tied.get(name) or self._tied.get(f"{name}.weight"):
            return Meaning(entry=entry, names=(tied,), matched=matched, tied=True)
        return Meaning(
            entry=entry, names=self._now(name), matched=matched, renamed=bool(self._now(name))
        )

    def named(self, name: str) -> tuple[str, ...]:
        """Return the parameter of that name, or all of the module of that name."""
        if name in self._all:
            return (name,)
        texts = self.reporter.names.whole
        spans = texts.beginning_with(f"{name}.", end=False)
        owners = sorted(texts.owners[at] for first, after in spans for at in range(first, after))
        return tuple(self.known.names[owner] for owner in owners)

    def _now(self, name: str) -> tuple[str, ...]:
        """Return what a name of the checkpoint or of an older transformers has become."""
        found = self._stored.get(name) or self._stored.get(f"{name}.weight")
        return tuple(dict.fromkeys(found)) if found else self.named(modern(name) or "\0")
