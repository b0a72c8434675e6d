"""Which layers, types, embeddings and heads the patterns of a policy name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import translate
from functools import cached_property, lru_cache

import numpy as np

from spectrum_tui.core.results.blocks import numbers_and_prefixes
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import BoolArray, EmbeddingParameter, IntArray, Result

_WILD = re.compile(r"[*?\[]")


class Names:
    """What depends on the names of a result's layers alone."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._heads = {name: h for h in result.embeddings for name in (h.name, *h.tied)}
        self._in_row = {
            row: found
            for row, names in enumerate(result.scores.parameters)
            if (found := [self._heads[name] for name in names if name in self._heads])
        }
        self.in_embeddings: BoolArray = np.zeros(len(result.scores), np.bool_)
        self.in_embeddings[list(self._in_row)] = True
        self.numel_in_embeddings: IntArray = np.zeros(len(result.scores), np.int64)
        for row, heads in self._in_row.items():
            self.numel_in_embeddings[row] = sum(h.numel for h in heads)
        self._matched = lru_cache(maxsize=None)(self._match)
        self.types = lru_cache(maxsize=None)(self._types)

    @cached_property
    def blocks(self) -> IntArray:
        """Per row the number of its block, -1 for none: 0.2 s at 60,000."""
        return numbers_and_prefixes(self._result.scores)[0]

    @cached_property
    def index(self) -> dict[str, int]:
        """The row of each layer by its name."""
        return {name: row for row, name in enumerate(self._result.scores.layers)}

    def rows(self, patterns: Sequence[str]) -> list[int]:
        """Return the rows of layers by their names, or by shell patterns of names."""
        exact = [self.index[pattern] for pattern in patterns if pattern in self.index]
        wild = (p for p in patterns if p not in self.index and _WILD.search(p))
        return [*exact, *(row for pattern in wild for row in self._matched(pattern))]

    def _match(self, pattern: str) -> list[int]:
        return [self.index[name] for name in filter_names(self.index, pattern)]

    def _types(self, pattern: str) -> BoolArray:
        """Return per type whether a shell pattern matches it, or the name itself."""
        names = self._result.scores.type_names
        found = {pattern, *filter_names(names, pattern)}
        return np.fromiter((name in found for name in names), np.bool_, len(names))

    def heads(self, policy: Policy) -> tuple[EmbeddingParameter, ...]:
        """Return the embeddings and heads that train: pins and bans go before the switch."""
        banned, pinned = (
            _matched_heads(patterns, self._result.embeddings)
            for patterns in (policy.bans, policy.pins)
        )
        return tuple(
            head
            for number, head in enumerate(self._result.embeddings)
            if number not in banned and (policy.embeddings or number in pinned)
        )

    def frozen_rows(self, heads: tuple[EmbeddingParameter, ...]) -> BoolArray:
        """Return the rows that are embeddings or heads, but none of these."""
        frozen = self.in_embeddings.copy()
        frozen[[row for row, of in self._in_row.items() if any(h in heads for h in of)]] = False
        return frozen


def unmatched(
    policy: Policy,
    layers: Collection[str],
    types: Collection[str],
    embeddings: Iterable[EmbeddingParameter],
) -> list[str]:
    """Return the patterns of a policy that match none of these layers and types."""
    heads = tuple(embeddings)
    known = set(layers)

    def names_a_layer(pattern: str) -> bool:
        if pattern in known or _matched_heads((pattern,), heads):
            return True
        return bool(_WILD.search(pattern)) and bool(filter_names(layers, pattern))

    of_types = [
        pattern
        for pattern, _ in policy.type_percents
        if pattern not in types and not filter_names(types, pattern)
    ]
    of_layers = dict.fromkeys((*policy.pins, *policy.bans))
    return [*of_types, *(pattern for pattern in of_layers if not names_a_layer(pattern))]


def filter_names(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that a shell pattern matches."""
    matches = re.compile(translate(pattern)).match
    return [name for name in names if matches(name)]


def _matched_heads(patterns: Sequence[str], heads: Sequence[EmbeddingParameter]) -> frozenset[int]:
    """Return which embeddings and heads the patterns name, by their modules' names."""
    names = {
        name.removesuffix(".weight"): number
        for number, head in enumerate(heads)
        for name in (head.name, *head.tied)
    }
    found = set(patterns).intersection(names)
    for pattern in patterns:
        if _WILD.search(pattern):
            found.update(filter_names(names, pattern))
    return frozenset(names[name] for name in found)
