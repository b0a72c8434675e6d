"""Stored tensors that together become one parameter or more, before they are a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from spectrum_tui.core.naming.parameters import StoredSource
from spectrum_tui.core.naming.transformers_api import Converter


@dataclass(frozen=True)
class Group:
    """The sources of one target, in the order of the loader; `patterns[i]` is that of source i.

    `target` is the first parameter made; a converter may make others of the same sources.
    """

    target: str
    sources: tuple[StoredSource, ...]
    patterns: tuple[str, ...] = ()
    converter: Converter | None = None

    @cached_property
    def by_pattern(self) -> Mapping[str, Sequence[StoredSource]]:
        """The sources of each of the converter's patterns, in the order they are joined in."""
        found: dict[str, list[StoredSource]] = {}
        for pattern in self.converter.patterns if self.converter else ():
            found[pattern] = []
        for pattern, source in zip(self.patterns, self.sources, strict=True):
            found.setdefault(pattern, []).append(source)
        return {pattern: sources for pattern, sources in found.items() if sources}


@dataclass(frozen=True)
class Mapped:
    """Where every stored tensor goes, by target; and the names of those that go nowhere."""

    groups: tuple[Group, ...]
    unexpected: tuple[str, ...]


def renamed(target: str, source: StoredSource) -> Group:
    """A parameter that is one stored tensor as it is."""
    return Group(target, (source,), (source.name,))


def names(sources: Iterable[StoredSource]) -> dict[str, StoredSource]:
    """The sources by name."""
    return {source.name: source for source in sources}
