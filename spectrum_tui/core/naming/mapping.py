"""Stored tensors to parameters by transformers' own conversion rules, on names alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spectrum_tui.core.naming.groups import Group, Mapped, names
from spectrum_tui.core.naming.parameters import StoredSource
from spectrum_tui.core.naming.transformers_api import Renamer


def map_sources(model: Any, sources: Iterable[StoredSource]) -> Mapped:
    """Where transformers' loader would put every source: its loop, without reading a tensor."""
    renamer = Renamer.of(model)
    by_name = names(sources)
    collected: dict[str, list[tuple[str, StoredSource]]] = {}
    first_pattern: dict[str, str] = {}
    unexpected = []
    for name in renamer.in_order(iter(by_name)):
        target, pattern = renamer.rename(name)
        if not target:
            unexpected.append(name)
            continue
        # The first tensor that arrives decides by which converter the parameter is made.
        first_pattern.setdefault(target, pattern)
        collected.setdefault(target, []).append((pattern or name, by_name[name]))
    groups = tuple(
        Group(
            target,
            tuple(source for _, source in items),
            tuple(pattern for pattern, _ in items),
            renamer.converter(first_pattern[target]),
        )
        for target, items in collected.items()
    )
    return Mapped(groups, tuple(unexpected))
