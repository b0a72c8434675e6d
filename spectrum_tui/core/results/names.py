"""Which layers, types, embeddings and heads the patterns of a policy name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase, translate
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
        self.rows = lru_cache(maxsize=None)(self._rows)
        self.types = lru_cache(maxsize=None)(self._types)

    @cached_property
    def blocks(self) -> IntArray:
        """Per row the number of its block, -1 outside of any."""
        return numbers_and_prefixes(self._result.scores)[0]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self._result.scores.layers)}

    def _rows(self, pattern: str) -> IntArray:
        """Return the rows of a layer by its name, or by a shell pattern of names."""
        row = self._index.get(pattern)
        if row is not None:
            return np.array([row], np.int64)
        if not _WILD.search(pattern):
            return np.zeros(0, np.int64)
        found = [self._index[name] for name in filter_names(self._index, pattern)]
        return np.array(found, np.int64)

    def _types(self, pattern: str) -> BoolArray:
        """Return per type whether a shell pattern matches it, or the name itself."""
        names = self._result.scores.type_names
        found = {pattern, *filter_names(names, pattern)}
        return np.fromiter((name in found for name in names), np.bool_, len(names))

    def heads(self, policy: Policy, *, on: bool) -> tuple[EmbeddingParameter, ...]:
        """Return the embeddings and heads that train while they are on, or off: pins and bans go
        before that."""

        def trains(head: EmbeddingParameter) -> bool:
            if any(_is_head(pattern, head) for pattern in policy.bans):
                return False
            return on or any(_is_head(pattern, head) for pattern in policy.pins)

        return tuple(filter(trains, self._result.embeddings))

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
        if pattern in known or any(_is_head(pattern, head) for head in heads):
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


def _is_head(pattern: str, head: EmbeddingParameter) -> bool:
    layers = (name.removesuffix(".weight") for name in (head.name, *head.tied))
    return any(name == pattern or fnmatchcase(name, pattern) for name in layers)
