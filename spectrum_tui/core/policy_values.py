"""The values that a policy is made of, as people type them: rules, percentages, blocks, budgets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from spectrum_tui.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a percentage is of, as the end of a sentence and in few words. `compares`: it takes
    scores that mean the same for layers of different types."""

    words: str
    short: str
    compares: bool = False


PER_TYPE = "per-type"
RULES = {
    PER_TYPE: Rule("of each layer type", "of each type"),
    "global": Rule("of all layers together by score", "of all layers by score", compares=True),
    "global-rank": Rule("of all layers together by rank in their type", "of all layers by rank"),
}
"""By name: see `results.policy.Policy`. `Selection` has the order that each takes layers in."""

Blocks = tuple[tuple[int, int | None], ...]
"""Ranges of block numbers, both ends among them; None for no end."""
TypePercents = tuple[tuple[str, float], ...]
"""(shell pattern of types, percentage of these)."""

_RANGE = re.compile(r"(\d{1,6})(?:(-)(\d{1,6})?)?", re.ASCII)
UNITS = {"GiB": 2.0**30, "GB": 1e9}
"""Bytes in each unit of memory."""
_MEMORY = re.compile(r"(\d{1,7}(?:\.\d{1,15})?)\s*(?:GI?B)?", re.ASCII)
_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMBT]?)", re.ASCII)
MOST_PARAMETERS = 10**15
LONGEST_NAME = 1_000
"""Characters of a layer's name or of a shell pattern."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a selection may take at most: bytes on each GPU, or parameters that train.

    `text` is how it is written, `24GiB` or `1.5B`; `unit` is that of memory, "" for parameters.
    """

    amount: float
    text: str
    unit: str = ""

    @property
    def in_bytes(self) -> bool:
        """Whether it is of memory."""
        return bool(self.unit)

    @property
    def number(self) -> str:
        """What is written before the unit."""
        return self.text.removesuffix(self.unit)


def parse_rule(text: str) -> str:
    """Return the name of a rule; raises InputError (field "rule")."""
    name = text.strip().lower()
    if name not in RULES:
        raise InputError(
            f"There is no rule {text!r}.", f"Choose from {', '.join(RULES)}.", field="rule"
        )
    return name


def percentage(text: str, *, low: float, field: str, what: str) -> float:
    """Return a percentage from `low` to 100 with at most one decimal, whole ones as int; raises
    InputError with that field."""
    typed = text.strip().removesuffix("%").rstrip()
    value = float(typed) if re.fullmatch(r"\d{1,3}(\.\d)?", typed, re.ASCII) else -1.0
    if not low <= value <= 100:
        raise InputError(
            f"{what} {text.strip()!r} is not usable.",
            f"Give a number from {low:g} to 100, with one decimal at most.",
            field=field,
        )
    return int(value) if value == int(value) else value


def parse_percent(text: str) -> float:
    """Return a percentage above 0, up to 100; raises InputError (field "top_percent")."""
    return percentage(text, low=0.1, field="top_percent", what="The percentage")


def parse_layers(texts: Iterable[str]) -> tuple[str, ...]:
    """Return layers by name or shell pattern, equal ones once; raises InputError (field
    "policy")."""
    return tuple(dict.fromkeys(map(_short_enough, texts)))


def _short_enough(pattern: str) -> str:
    if len(pattern) > LONGEST_NAME:
        raise InputError(
            f"A name of {len(pattern):,} characters is no layer's: {pattern[:20]}…",
            f"Give at most {LONGEST_NAME:,} characters.",
            field="policy",
        )
    return pattern


def parse_type_percents(texts: Iterable[str]) -> TypePercents:
    """Return `mlp.down_proj=40` as ("mlp.down_proj", 40), each; raises InputError (field
    "type_percents")."""
    return tuple(_type_percent(text) for text in texts)


def _type_percent(text: str) -> tuple[str, float]:
    pattern, sign, number = _short_enough(text).rpartition("=")
    if not sign or not pattern.strip():
        raise InputError(
            f"{text!r} is no percentage of a type.",
            "Write the type, or a shell pattern of types, and its percentage: mlp.down_proj=40.",
            field="type_percents",
        )
    what = f"The percentage of {pattern.strip()}"
    return pattern.strip(), percentage(number, low=0, field="type_percents", what=what)


def type_percent_texts(values: TypePercents) -> tuple[str, ...]:
    """Return each as it is typed: `mlp.down_proj=40`."""
    return tuple(f"{pattern}={percent:g}" for pattern, percent in values)


def parse_blocks(text: str) -> Blocks:
    """Return `8-` and `0-3,28-31` as ranges, "" as none; raises InputError (field "blocks")."""
    return tuple(_range(part) for part in text.split(",")) if text.strip() else ()


def _range(part: str) -> tuple[int, int | None]:
    found = _RANGE.fullmatch(part.strip())
    if found is not None:
        first, dash, last = found.groups()
        end = int(last) if last else None if dash else int(first)
        if end is None or int(first) <= end:
            return int(first), end
    raise InputError(
        f"{part.strip()!r} is no range of blocks.",
        "Write numbers from 0, the lower one first: 8-, 0-3 or 0-3,28-31.",
        field="blocks",
    )


def blocks_text(blocks: Blocks) -> str:
    """Return the ranges as they are typed: `0-3,28-`."""
    return ",".join(_range_text(*one) for one in blocks)


def _range_text(first: int, last: int | None) -> str:
    if last is None:
        return f"{first}-"
    return str(first) if first == last else f"{first}-{last}"


def parse_memory(text: str) -> float:
    """Bytes of `24`, `23.5` and `24 GiB` (2^30 each, as cards have them) or `24 GB` (10^9 each);
    raises InputError (field "fit")."""
    return card_of(text).amount


def parse_card(text: str) -> str:
    """Return a size of memory as it is typed, "" for none; raises InputError (field "fit")."""
    typed = text.strip()
    if typed:
        parse_memory(typed)
    return typed


def parse_budget(text: str) -> Budget | None:
    """Return `24GiB`, `24 GB` (of memory on each GPU), `1.5B` or `200M` (parameters that train),
    None for ""; raises InputError (field "budget")."""
    typed = text.strip().upper()
    if not typed:
        return None
    if typed.endswith(tuple(unit.upper() for unit in UNITS)):
        with suppress(InputError):
            return card_of(typed)
    elif found := _COUNT.fullmatch(typed):
        amount = float(found[1]) * _COUNTS[found[2]]
        if 1 <= amount <= MOST_PARAMETERS:
            return Budget(amount, f"{found[1]}{found[2]}")
    raise InputError(
        f"{text.strip()!r} is no budget.",
        "Give memory on each GPU, like 24GiB, or parameters that train, like 1.5B or 200M.",
        field="budget",
    )


def card_of(text: str) -> Budget:
    """Return the memory of a card, `24`, `23.5 GiB` or `24GB`, as a budget that can be written;
    raises InputError (field "fit")."""
    typed = text.strip().upper()
    found = _MEMORY.fullmatch(typed)
    if not found or not 0 < float(found[1]) <= 1e6:
        raise InputError(
            f"{text.strip()!r} is not a memory size." if typed else "No memory size is given.",
            "Give the GiB of one GPU, like 24.",
            field="fit",
        )
    unit = "GB" if typed.endswith("GB") else "GiB"
    return Budget(float(found[1]) * UNITS[unit], f"{found[1]}{unit}", unit)
