"""Changes that a person makes to a policy, layer by layer, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from spectrum_tui.core.numbers import counted
from spectrum_tui.core.policy_values import blocks_text
from spectrum_tui.core.results.names import filter_names
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.selection import LAST, percent_of_step, slots


def pinned(policy: Policy, layers: Sequence[str], every: Mapping[str, int]) -> Policy:
    """Return the policy with these layers pinned, or no longer where all of them are. `every`
    holds all layers, by which patterns that match some of these are taken apart."""
    bans = without(policy.bans, layers, every)
    if _all_in(policy.pins, layers, every) and bans == policy.bans:
        return replace(policy, pins=without(policy.pins, layers, every))
    return replace(policy, bans=bans, pins=_with(policy.pins, layers, every))


def banned(policy: Policy, layers: Sequence[str], every: Mapping[str, int]) -> Policy:
    """Return the policy with these layers banned, or no longer where all of them are."""
    if _all_in(policy.bans, layers, every):
        return replace(policy, bans=without(policy.bans, layers, every))
    pins = without(policy.pins, layers, every)
    return replace(policy, pins=pins, bans=_with(policy.bans, layers, every))


def with_type_percents(
    policy: Policy, percents: Mapping[str, float | None], pattern: str = ""
) -> Policy:
    """Return the policy with a percentage of its own for each of these types; with none where it
    is None or that of all, and no other pattern says otherwise. `pattern` matches these types and
    no other: it stands for them where their percentages are the same."""
    others = tuple(
        one for one in policy.type_percents if one[0] != pattern and one[0] not in percents
    )
    said = {name for other, _ in others for name in filter_names(percents, other)}
    common = policy.percent if policy.is_per_type else None
    wanted = {name: common if n is None else n for name, n in percents.items()}
    own = {name: n for name, n in wanted.items() if n is not None and (n != common or name in said)}
    same = set(own.values())
    if pattern and len(own) == len(percents) > 1 == len(same):
        own = {pattern: same.pop()}
    return replace(policy, type_percents=(*others, *own.items()))


def next_percent(percent: float, layers: int, by: int, common: float | None) -> float:
    """Return the nearest percentage above (`by` > 0) or below that selects another number of this
    many layers: by a whole percent at least, and `common`, that of all types, where there is one
    that selects as many.

    >>> next_percent(25, 30, 1, 25), next_percent(27, 30, -1, 25), next_percent(0, 30, -1, 25)
    (27, 25, 0)
    """
    now, moved = (int(slots(p, layers)) for p in (percent, percent + by))
    wanted = min(layers, max(now + 1, moved)) if by > 0 else max(0, min(now - 1, moved))
    if wanted == now or layers == 0:
        return percent
    if common is not None and slots(common, layers) == wanted:
        return common
    return percent_of_step(-(-LAST * wanted // layers), layers)


def from_block(policy: Policy, first: int) -> Policy:
    """Return the policy under which no block below `first` trains; ranges that begin higher
    stay."""
    if first <= 0:
        kept = tuple(one for one in policy.blocks[1:])
        return replace(policy, blocks=kept and ((0, policy.blocks[0][1]), *kept))
    if not policy.blocks:
        return replace(policy, blocks=((first, None),))
    (_, last), *others = policy.blocks
    return replace(policy, blocks=((first, last if last is None else max(first, last)), *others))


def without(
    patterns: Sequence[str], layers: Collection[str], every: Mapping[str, int]
) -> tuple[str, ...]:
    """Return the patterns so that they name none of these layers, but every other as before."""
    taken, kept = set(layers), dict[str, None]()
    for pattern in patterns:
        if pattern in every:
            names = [pattern]
        else:  # taken apart only where it has to be: 60,000 names take 10 ms
            names = filter_names(every, pattern) if filter_names(taken, pattern) else []
        if taken.isdisjoint(names):
            kept[pattern] = None
        else:
            kept.update(dict.fromkeys(name for name in names if name not in taken))
    return tuple(kept)


def _with(
    patterns: Sequence[str], layers: Sequence[str], every: Mapping[str, int]
) -> tuple[str, ...]:
    missing = _not_in(patterns, layers, every)
    return (*patterns, *missing)


def _all_in(patterns: Sequence[str], layers: Sequence[str], every: Mapping[str, int]) -> bool:
    return not _not_in(patterns, layers, every)


def _not_in(patterns: Sequence[str], layers: Sequence[str], every: Mapping[str, int]) -> list[str]:
    """Return the layers that no pattern names."""
    found = set(patterns).intersection(layers)
    for pattern in patterns:
        if pattern not in every:
            found.update(filter_names(layers, pattern))
    return [name for name in layers if name not in found]


def slid(before: Policy, after: Policy) -> str:
    """Return which percentages alone were changed: `*` for that of all, or the patterns of types;
    "" where anything else was."""
    before = replace(before, layers=after.layers)
    if replace(before, percent=after.percent) == after:
        return "*"
    changed = {name for name, _ in set(before.type_percents) ^ set(after.type_percents)}
    alone = replace(before, type_percents=after.type_percents) == after
    return " ".join(sorted(changed)) if alone else ""


def described(before: Policy, after: Policy) -> str:
    """Return what was changed, in a few words: `25 % to 30 %`, `1 layer pinned`."""
    if after.budget != before.budget:
        return f"budget {after.budget.text}" if after.budget else "budget given up"
    if after.rule != before.rule:
        return f"rule {before.rule} to {after.rule}"
    if after.percent != before.percent:
        return f"{before.percent:g} % to {after.percent:g} %"
    if after.blocks != before.blocks:
        return f"blocks {blocks_text(after.blocks) or 'all'}"
    if after.embeddings != before.embeddings:
        return f"embeddings {'on' if after.embeddings else 'off'}"
    if after.type_percents != before.type_percents:
        return _percents(before, after)
    return _layers(before, after)


def _percents(before: Policy, after: Policy) -> str:
    changed = dict(set(after.type_percents) - set(before.type_percents))
    if not changed:
        gone = dict(set(before.type_percents) - set(after.type_percents))
        return f"{next(iter(gone), 'a type')} as all others"
    name, percent = next(iter(changed.items()))
    return f"{name if len(changed) == 1 else counted(len(changed), 'type')} {percent:g} %"


def _layers(before: Policy, after: Policy) -> str:
    for words, old, new in (
        ("banned", before.bans, after.bans),
        ("pinned", before.pins, after.pins),
    ):
        added, gone = set(new) - set(old), set(old) - set(new)
        if added and not gone:
            return f"{_named(added)} {words}"
        if gone and not added:
            return f"{_named(gone)} no longer {words}"
        if added or gone:
            return f"layers {words}"
    return "nothing" if after.layers is None else counted(after.layers, "layer")


def _named(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else counted(len(names), "layer")
