"""What a line may mean by a name that the model does not have: how other classes, checkpoints and
versions call its parameters.

A line is matched with names that are made of the model's own, as a trainer would match it. So a
regular expression finds its parameters like a plain name does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from spectrum_tui.core.audit.entries import plain_name
from spectrum_tui.core.trainers.matching import hits
from spectrum_tui.core.trainers.names import Names
from spectrum_tui.core.trainers.patterns import ANY_CHAR, at_start

MOST_BEGINNINGS = 8
"""Lists of blocks that lines may name, and a model may have: the towers of one are four at most."""

Found = dict[str, tuple[str, ...]]
"""The parameters that each pattern means."""


@dataclass(frozen=True, slots=True)
class Renaming:
    """`old` at the beginning of a line's names is `new` in the model."""

    old: str
    new: str

    def aliases(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (what lines call it, parameter) of those that it is about."""
        for name in names:
            if name.startswith(self.new):
                yield self.old + name[len(self.new) :], name


def by_aliases(patterns: Iterable[str], aliases: Iterable[tuple[str, str]]) -> Found:
    """Return what patterns match of (alias, parameter), as regular expressions at the beginning."""
    parameters: dict[str, list[str]] = {}
    for alias, name in aliases:
        parameters.setdefault(alias, []).append(name)
    asked = {pattern: _asked(pattern) for pattern in patterns}
    found = hits((one for ones in asked.values() for one in ones), at_start, Names(parameters))
    meant: Found = {}
    for pattern, ones in asked.items():
        matched = [alias for one in ones if found.count(one) for alias in found.of(one)]
        if matched:
            meant[pattern] = tuple(dict.fromkeys(n for alias in matched for n in parameters[alias]))
    return meant


def _asked(pattern: str) -> tuple[str, ...]:
    """Return a regular expression itself; for a name, that of the parameter and of all below it."""
    name = plain_name(pattern)
    return (f"{re.escape(name)}$", rf"{re.escape(name)}\.") if name else (pattern,)


def by_beginning(patterns: Sequence[str], names: Sequence[str]) -> Found:
    """Return what patterns mean if their names begin otherwise than the model's.

    What is left without a number, as a head or an embedding has none, is found by the end of its
    name, where one parameter alone ends so.
    """
    found: Found = {}
    left = list(patterns)
    for renaming in _renamings(patterns, names):
        more = by_aliases(left, renaming.aliases(names))
        found |= more
        left = [pattern for pattern in left if pattern not in more]
    return found | _by_ends(left, names)


def _renamings(patterns: Iterable[str], names: Iterable[str]) -> list[Renaming]:
    """One for each beginning that the model does not have: to that of the same list of blocks by
    which most plain names match; of several, the most alike and the language model's."""
    model = dict.fromkeys(filter(None, map(_root, names)))
    lines = dict.fromkeys(filter(None, (_root(_literal(pattern)) for pattern in patterns)))
    known = set(names)
    plain = [name for pattern in patterns if (name := plain_name(pattern))]
    found = []
    for line in islice((line for line in lines if line not in model), MOST_BEGINNINGS):
        alike = [own for own in model if line.split(".")[-2] == own.split(".")[-2]]
        pairs = [_without_common(line, own) for own in alike[:MOST_BEGINNINGS]]
        if pairs:
            found.append(min(pairs, key=lambda pair: _rank(pair, plain, known)))
    return list(dict.fromkeys(found))


def _rank(renaming: Renaming, plain: Iterable[str], known: set[str]) -> tuple[int, int, bool]:
    """Return a sort key, least for the best: by lines, then by how little is renamed, then by the
    tower."""
    return -_count(renaming, plain, known), len(renaming.old), _is_tower(renaming.new)


def _count(renaming: Renaming, plain: Iterable[str], known: set[str]) -> int:
    """Return how many plain names are parameters, or the modules of a weight, once renamed."""
    old, new = len(renaming.old), renaming.new
    renamed = (new + name[old:] for name in plain if name.startswith(renaming.old))
    return sum(name in known or f"{name}.weight" in known for name in renamed)


def _is_tower(beginning: str) -> bool:
    """Return whether it leads away from the language model, which a line means if it says no
    more."""
    return any(word in beginning for word in ("vis", "image", "audio", "speech", "encoder"))


def _literal(pattern: str) -> str:
    """Return the characters that a line begins with, its dots taken for dots."""
    return at_start(pattern).literal.replace(ANY_CHAR, ".")


def _root(name: str) -> str:
    """Return the part of a name before its first number: `model.layers.` of `model.layers.3.mlp`.

    That of a pattern whose number is an expression is what stands before: `model.layers.`.
    """
    parts = name.split(".")
    at = next((at for at, part in enumerate(parts) if part[:1].isdigit() or not part), 0)
    return "".join(f"{part}." for part in parts[:at])


def _without_common(line: str, own: str) -> Renaming:
    """Return the two beginnings without the parts that both end with."""
    old, new = line.split(".")[:-1], own.split(".")[:-1]
    while old and new and old[-1] == new[-1]:
        old.pop()
        new.pop()
    return Renaming("".join(f"{p}." for p in old), "".join(f"{p}." for p in new))


def _by_ends(patterns: Iterable[str], names: Iterable[str]) -> Found:
    ends: dict[str, list[str]] = {}
    for name in names:
        if not _root(name):
            for end in islice(_ends(name), 4):
                ends.setdefault(end, []).append(name)
    found: Found = {}
    for pattern in patterns:
        name = plain_name(pattern)
        if not name or _root(name):
            continue
        own = next(filter(None, (_only(ends, end) for end in _ends(name))), "")
        if own:
            found[pattern] = (own,)
    return found


def _only(ends: Mapping[str, Sequence[str]], end: str) -> str:
    """Return the one parameter of that end, as it is or with `.weight`."""
    own = ends.get(end) or ends.get(f"{end}.weight") or ()
    return own[0] if len(own) == 1 else ""


def _ends(name: str) -> Iterator[str]:
    """Yield what a name ends with, the longest first; never its last part alone if that is a
    leaf."""
    parts = name.split(".")
    least = 2 if parts[-1] in ("weight", "bias") else 1
    for at in range(len(parts) - least + 1):
        yield ".".join(parts[at:])
