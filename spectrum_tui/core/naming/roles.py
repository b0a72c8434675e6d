"""The type of every layer of a model: its role, and its stage where stages differ in width.

A name alone does not tell which of its numbers only count. In `stages.2.layers.5.layer.0.conv`
the 5 counts blocks that are alike, the 0 says which of a block's convolutions this is, and the 2
is a stage of a width of its own. The shapes of all layers together tell. In a model of one stack
of blocks a type is what the reference tool makes of a name: the path after the number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from spectrum_tui.core.experts import without_numbers
from spectrum_tui.core.layer_types import ANY_NUMBER

Sides = tuple[int, ...]
"""(outputs, inputs) of a matrix or a convolution; one number of a vector."""
_Path = tuple[str, ...]


class _Kind(Enum):
    """What the numbers of a list say."""

    COUNT = "which of several alike"
    STAGE = "which stage, each of a width of its own"
    PLACE = "which part of something, each of a role of its own"


@dataclass(slots=True)
class _Child:
    """What stands under one number: the sides of each layer, by its path from there."""

    layers: dict[_Path, Sides] = field(default_factory=dict)

    def matrices(self) -> list[_Path]:
        return [path for path, sides in self.layers.items() if len(sides) > 1]


@dataclass(slots=True)
class _List:
    """A list of modules: {where it stands: {number: what is under it}}.

    `holds_blocks` where a list of blocks is inside each child, as in a stage.
    """

    places: dict[_Path, dict[str, _Child]] = field(default_factory=dict)
    kind: _Kind = _Kind.PLACE
    holds_blocks: bool = False

    def shared(self) -> set[_Path]:
        """Return the matrices that several children of one place have."""
        found: set[_Path] = set()
        for children in self.places.values():
            counts = Counter(path for child in children.values() for path in child.matrices())
            found.update(path for path, count in counts.items() if count > 1)
        return found

    def is_of_blocks(self) -> bool:
        """Return whether the children are blocks: of several matrices, and no parts of one block,
        which share none. An only child is one where it has several."""
        if len(self.shared()) > 1:
            return True
        children = [child for place in self.places.values() for child in place.values()]
        single = all(len(place) == 1 for place in self.places.values())
        return single and any(len(child.matrices()) > 1 for child in children)

    def widths_differ(self) -> bool:
        """Return whether the children of one place are of several widths."""
        return any(
            len({_commonest(child.layers.values()) for child in children.values()}) > 1
            for children in self.places.values()
        )

    def bare(self) -> list[Sides]:
        """Return the sides of the children that are layers themselves."""
        children = (child for place in self.places.values() for child in place.values())
        return [child.layers[()] for child in children if () in child.layers]


def role_types(layers: Sequence[tuple[str, Sides]]) -> list[str]:
    """Return the types of the layers of one tower, given (path, sides) of each; never empty.

    An index is `*` where it counts blocks or experts inside a type, and stays where it tells
    stages or roles apart: `mlp.experts.*.up_proj`, `layers.2.blocks.*.mlp.fc1`, `proj.0`. The
    path up to the first number is left out, unless it tells stacks of blocks of different widths
    apart: `talker.model.layers.*.mlp.up_proj`.
    """
    alike = [without_numbers(name, ANY_NUMBER) for name, _ in layers]
    first = dict(zip(reversed(alike), (sides for _, sides in reversed(layers)), strict=True))
    paths, sides = [tuple(name.split(".")) for name in first], list(first.values())
    lists = _lists(paths, sides)
    types = _told_apart([_typed(path, lists) for path in paths], sides)
    by_name = dict(zip(first, types, strict=True))
    return [by_name[name] for name in alike]


# -- lists and what they count -----------------------------------------------------------------


def _lists(paths: Sequence[_Path], sides: Sequence[Sides]) -> dict[_Path, _List]:
    """Every list by its name, inner ones judged first: outer ones by what is left of them."""
    members: list[dict[_Path, list[tuple[int, int]]]] = []
    for row, path in enumerate(paths):
        for depth, at in enumerate(_numbers(path)):
            if depth == len(members):
                members.append({})
            members[depth].setdefault(_list_name(path, at), []).append((row, at))
    lists: dict[_Path, _List] = {}
    for by_name in reversed(members):
        for name, rows in by_name.items():
            found = _List()
            for row, at in rows:
                path = paths[row]
                child = found.places.setdefault(path[:at], {}).setdefault(path[at], _Child())
                child.layers[_below(path, at, lists)] = sides[row]
            lists[name] = found
            _judge(name, lists)
    _follow_stages(lists)
    return lists


def _numbers(path: _Path) -> list[int]:
    """Return where in a path numbers stand."""
    return [at for at, part in enumerate(path) if part.isdigit()]


def _list_name(path: _Path, at: int) -> _Path:
    """Return the list that the number at `at` counts in, the same for every number before it."""
    return tuple("#" if part.isdigit() else part for part in path[:at])


def _below(path: _Path, at: int, lists: dict[_Path, _List]) -> _Path:
    """Return the path under the number at `at`, without the numbers there that only count."""
    return tuple(
        ANY_NUMBER if part.isdigit() and lists[_list_name(path, i)].kind is _Kind.COUNT else part
        for i, part in enumerate(path[at + 1 :], at + 1)
    )


def _judge(name: _Path, lists: dict[_Path, _List]) -> None:
    """Set the kind of a list whose inner lists are judged."""
    found = lists[name]
    inner = [one for other, one in lists.items() if other[: len(name) + 1] == (*name, "#")]
    found.holds_blocks = any(one.holds_blocks or one.is_of_blocks() for one in inner)
    if found.holds_blocks and found.shared() and found.widths_differ():
        found.kind = _Kind.STAGE
    elif "#" in name:
        found.kind = _Kind.COUNT if len(found.shared()) > 1 else _Kind.PLACE
    else:
        found.kind = _Kind.COUNT if len(set(found.bare())) < 2 else _Kind.PLACE


def _follow_stages(lists: dict[_Path, _List]) -> None:
    """Count single matrices by stage where there is one of its own shape for each stage, as
    embeddings of patches are."""
    stages = [set(place) for one in lists.values() for place in _stages(one)]
    for name, found in lists.items():
        if "#" in name or found.kind is not _Kind.COUNT or len(found.shared()) != 1:
            continue
        (path,) = found.shared()
        for children in found.places.values():
            shapes = {child.layers.get(path) for child in children.values()}
            if len(shapes) > 1 and set(children) in stages:
                found.kind = _Kind.STAGE


def _stages(found: _List) -> Iterable[dict[str, _Child]]:
    return found.places.values() if found.kind is _Kind.STAGE else ()


def _commonest(sides: Iterable[Sides]) -> int:
    """Return the size that most layers have on a side: the width of what flows between them."""
    counts = Counter(side for shape in sides for side in shape)
    return max(counts, key=lambda side: (counts[side], side), default=0)


# -- names -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Typed:
    """A type, and the path above it, with a number between (`cut`) or without."""

    above: _Path
    type: _Path
    cut: bool = False


def _typed(path: _Path, lists: dict[_Path, _List]) -> _Typed:
    first = next(iter(_numbers(path)), None)
    if first is None:
        return _Typed((), path)
    kind = lists[path[:first]].kind
    below = _below(path, first, lists)
    if kind is _Kind.STAGE:
        at = max(first - 1, 0)
        return _Typed(path[:at], (*path[at : first + 1], *below))
    if below:
        return _Typed(path[:first], below, cut=True)
    return _Typed((), (*path[:first], ANY_NUMBER) if kind is _Kind.COUNT else path)


def _told_apart(found: Sequence[_Typed], sides: Sequence[Sides]) -> list[str]:
    """Return the names of the types, with what is above where that tells the widths of matrices
    apart."""
    stacks: dict[_Path, list[Sides]] = {}
    holders: dict[_Path, set[_Path]] = {}
    for one, shape in zip(found, sides, strict=True):
        stacks.setdefault(one.above, []).append(shape)
        if len(shape) > 1:
            holders.setdefault(one.type, set()).add(one.above)
    apart: set[_Path] = set()
    if len(stacks) > 1:
        widths = {above: _commonest(shapes) for above, shapes in stacks.items()}
        for above in holders.values():
            if len({widths[one] for one in above}) > 1:
                apart |= above
    return [".".join((*_distinct(one, apart), *one.type)) for one in found]


def _distinct(one: _Typed, apart: set[_Path]) -> _Path:
    """Return the end of the path above that no other stack has, where stacks must be told apart."""
    if one.above not in apart:
        return ()
    ends = (one.above[at:] for at in range(len(one.above) - 1, -1, -1))
    others = [other for other in apart if other != one.above]
    end = next((end for end in ends if all(o[-len(end) :] != end for o in others)), one.above)
    return (*end, ANY_NUMBER) if one.cut else end
