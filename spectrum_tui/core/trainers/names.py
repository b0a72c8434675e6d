"""Which of a model's names a literal form matches, found in sorted lists.

A model has up to 60,000 names and a recipe 30,000 lines: to try each on each takes minutes, to
look each up in a sorted list 0.2 s.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from spectrum_tui.core.trainers.patterns import ANY_CHAR

Span = tuple[int, int]
"""A stretch [first, after the last) of a sorted list."""

MOST_TAILS = 1_000_000
"""Ends of names that are sorted to look for something inside names: 0.1 GB."""
MOST_SPANS = 2_000_000
"""Stretches that `ANY_CHAR` may split a list into, over all patterns: 2 s."""
MOST_LOOKS = 20_000_000
"""Names that are searched for one beginning each: 3 s."""
_LAST = "\U0010ffff"
_DIGITS = re.compile(r"\d+")
_BEGINNING = re.compile(rf"[^\d{ANY_CHAR}]+|[^{ANY_CHAR}]", re.DOTALL)


class TooManyError(Exception):
    """Looking further would take too long."""


class SortedTexts:
    """Texts in order, each with the number of the name that it is the end of."""

    def __init__(self, texts: Sequence[str], owners: Sequence[int]) -> None:
        order = sorted(range(len(texts)), key=texts.__getitem__)
        self.texts = [texts[at] for at in order]
        self.owners = [owners[at] for at in order]
        self._everything: list[Span] = [(0, len(texts))]
        self._known: dict[str, list[Span]] = {}
        self._spans = 0

    def beginning_with(self, literal: str, *, end: bool) -> list[Span]:
        """Return where the texts are that begin with `literal`, or are it as a whole.

        Raises TooManyError.
        """
        head, wild, last = literal.rpartition(ANY_CHAR)
        spans = self._known.get(head) if wild else self._everything
        if spans is None:
            spans = self._after_any(head)
        found = self._narrowed(spans, len(head) + len(wild), last)
        return self._whole(found, len(literal)) if end else list(found)

    def _after_any(self, literal: str) -> list[Span]:
        """Return the spans of what begins with `literal` and one more character, by that character.

        Recipes have few different beginnings for their many lines, so they are kept.
        """
        spans, done = self._everything, ""
        for part in literal.split(ANY_CHAR):
            key = f"{done}{part}"
            known = self._known.get(key)
            if known is None:
                known = list(self._split(self._narrowed(spans, len(done), part), len(key)))
                self._count(len(known))
                self._known[key] = known
            spans, done = known, f"{key}{ANY_CHAR}"
        return spans

    def _count(self, spans: int) -> None:
        self._spans += spans + 1
        if self._spans > MOST_SPANS:
            raise TooManyError

    def _narrowed(self, spans: Iterable[Span], depth: int, part: str) -> Iterator[Span]:
        """Those of each span that go on with `part`; all of a span are alike up to `depth`."""
        for low, high in spans:
            first, after = self._with(low, high, depth, part) if part else (low, high)
            if first < after:
                yield first, after

    def _with(self, low: int, high: int, depth: int, part: str) -> Span:
        texts = self.texts
        wanted = texts[low][:depth] + part if depth else part
        first = bisect_left(texts, wanted, low, high)
        if first == high or not texts[first].startswith(wanted):
            return first, first
        if first + 1 == high or not texts[first + 1].startswith(wanted):
            return first, first + 1
        return first, bisect_left(texts, wanted + _LAST, first, high)

    def _split(self, spans: Iterable[Span], depth: int) -> Iterator[Span]:
        """Yield the spans by the character at `depth`, without the texts that end there."""
        texts = self.texts
        for low, high in spans:
            first = low
            while first < high and len(texts[first]) == depth:
                first += 1
            while first < high:
                after = bisect_left(texts, texts[first][: depth + 1] + _LAST, first, high)
                yield first, after
                first = after

    def _whole(self, spans: Iterable[Span], length: int) -> list[Span]:
        """Return the texts of exactly this length, which come first in their span."""
        found = []
        for low, high in spans:
            after = low
            while after < high and len(self.texts[after]) == length:
                after += 1
            if low < after:
                found.append((low, after))
        return found


class Names:
    """The names of a model's parameters, without repetition and in their order."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(dict.fromkeys(names))
        self.longest = max(map(len, self.names), default=0)
        self.whole = SortedTexts(self.names, range(len(self.names)))

    @cached_property
    def _alike(self) -> str:
        """The names with their numbers left out, each kind once: a few thousand letters."""
        return "\n".join(dict.fromkeys(_DIGITS.sub("\n", name) for name in self.names))

    def tails(self, literals: Iterable[str]) -> SortedTexts:
        """Return the ends of names that begin like one of `literals`, where any of them could be
        found.

        Raises TooManyError.
        """
        heads = set()
        for literal in literals:
            found = _BEGINNING.match(literal)
            heads.add(found[0] if found else "")
        if "" in heads:
            raise TooManyError
        possible = [head for head in heads if head.isdigit() or head in self._alike]
        if len(possible) * len(self.names) > MOST_LOOKS:
            raise TooManyError
        texts, owners = [], []
        for owner, at in dict.fromkeys(self._places(possible)):
            texts.append(self.names[owner][at:])
            owners.append(owner)
        return SortedTexts(texts, owners)

    def _places(self, heads: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Yield (number of a name, where in it) of every occurrence of every head."""
        found = 0
        for head in heads:
            for owner, name in enumerate(self.names):
                at = name.find(head)
                while at >= 0:
                    found += 1
                    if found > MOST_TAILS:
                        raise TooManyError
                    yield owner, at
                    at = name.find(head, at + 1)
