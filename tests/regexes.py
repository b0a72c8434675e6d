"""Every regular expression of the program, and strings that make one slow if any do.

Patterns are collected, not listed: those that modules hold, and those in calls of `re` that the
source spells out. A slow one backtracks over a repetition, so that each repetition is pumped:
what leads to it, one text that it repeats many times, and something after it that fails.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

import spectrum_tui

ROOT = Path(spectrum_tui.__file__).parent
METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
_MOST_NESTED = 4
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_KINDS = (ast.Call, ast.Attribute, *_FUNCTIONS)
_USE = re.compile(rf"\.(?:compile|{'|'.join(METHODS)})\b")


@dataclass(frozen=True)
class Place:
    """A pattern, the file and the how-manieth of it, and the methods that it is used by."""

    where: str
    number: int
    pattern: re.Pattern[str]
    methods: tuple[str, ...]


def held(value: object, depth: int = 0) -> Iterator[re.Pattern[str]]:
    """The patterns in a value and in what it holds."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth < _MOST_NESTED:
        if isinstance(value, dict):
            yield from held((*value, *value.values()), depth + 1)
        elif isinstance(value, tuple | list | set | frozenset):
            for one in value:
                yield from held(one, depth + 1)


@dataclass(frozen=True)
class _Source:
    """A file of the program: what its module holds (nothing of a script, which is not imported)
    and the calls, attributes and functions of its source."""

    where: str
    names: dict[str, Any]
    nodes: tuple[ast.AST, ...]

    @property
    def functions(self) -> set[ast.AST]:
        """Everything that stands in a function."""
        owners = [node for node in self.nodes if isinstance(node, _FUNCTIONS)]
        return {inside for owner in owners for inside in ast.walk(owner)}

    @property
    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """(method, call) of every call of `re`."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner, method = node.func.value, node.func.attr
                known = ("compile", *METHODS)
                if isinstance(owner, ast.Name) and owner.id == "re" and method in known:
                    yield method, node

    @property
    def uses(self) -> Iterator[tuple[str, str]]:
        """(name, method) of every `NAME.method` that may be a pattern's."""
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                owner = node.value
                if not isinstance(owner, ast.Constant):
                    yield getattr(owner, "id", getattr(owner, "attr", "")), node.attr


def _sources() -> Iterator[_Source]:
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        parts = ("spectrum_tui", *place.with_suffix("").parts)
        imported = "scripts" not in parts and parts[-1] != "__main__"
        name = ".".join(parts).removesuffix(".__init__")
        names = vars(importlib.import_module(name)) if imported else {"re": re}
        text = path.read_text(encoding="utf-8")
        used = _USE.search(text)  # what has none need not be parsed, 0.02 s
        walk = ast.walk(ast.parse(text)) if used else ()
        nodes = tuple(node for node in walk if isinstance(node, _KINDS))
        yield _Source(str(place), names, nodes)


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "", "eval"), dict(names))  # noqa: S307


def _made(method: str, call: ast.Call, names: dict[str, Any]) -> re.Pattern[str]:
    """The pattern of a call, by the module's own names; raises NameError where it needs more."""
    pattern = _evaluated(call.args[0], names)
    flags = [word.value for word in call.keywords if word.arg == "flags"]
    flags += call.args[1:2] if method == "compile" else []
    return re.compile(pattern, sum(int(_evaluated(flag, names)) for flag in flags))


@cache
def collected() -> tuple[list[Place], list[str]]:
    """(every pattern, the calls of `re` whose pattern is only known while the program runs).

    A pattern is tried with the methods that its name is used by anywhere; one that stands in a
    list, with those that its module uses of what is no pattern's name.
    """
    found: dict[tuple[str, str, int], set[str]] = {}
    unknown = []
    sources = list(_sources())
    uses = [use for source in sources for use in source.uses]
    patterns = {n for s in sources for n, v in s.names.items() if isinstance(v, re.Pattern)}
    for source in sources:
        others = {m for n, m in source.uses if n != "re" and n not in patterns}
        for name, value in source.names.items():
            methods = {m for n, m in uses if n == name} if name in patterns else others
            for pattern in held(value):
                found.setdefault((source.where, pattern.pattern, pattern.flags), set())
                found[source.where, pattern.pattern, pattern.flags] |= methods
        for method, call in source.calls:
            try:
                made = _made(method, call, source.names)
            except NameError:
                if call in source.functions:
                    unknown.append(f"{source.where}: {ast.unparse(call)}")
                continue
            known = found.setdefault((source.where, made.pattern, made.flags), set())
            known |= {method} - {"compile"}
    places = [
        Place(where, number, re.compile(pattern, flags), tuple(sorted(methods)) or METHODS[:3])
        for number, ((where, pattern, flags), methods) in enumerate(found.items())
    ]
    return places, unknown


# -- strings that pump ---------------------------------------------------------------------------


def _characters(items: Iterable[tuple[Any, Any]]) -> list[str]:
    """Some characters of a set, its edges and its classes."""
    kinds = {
        sre.CATEGORY_DIGIT: "1",
        sre.CATEGORY_WORD: "a_1",
        sre.CATEGORY_SPACE: " ",
        sre.CATEGORY_NOT_DIGIT: "a.",
        sre.CATEGORY_NOT_WORD: ".!",
        sre.CATEGORY_NOT_SPACE: "a.",
    }
    items = list(items)
    if items and items[0][0] is sre.NEGATE:
        excluded = set(_characters(items[1:]))
        return [c for c in "a._1 [-" if c not in excluded][:3] or ["é"]
    found: list[str] = []
    for kind, value in items:
        if kind is sre.LITERAL:
            found.append(chr(value))
        elif kind is sre.RANGE:
            found += [chr(value[0]), chr(value[1])]
        elif kind is sre.CATEGORY:
            found += kinds[value]
    return found


_MOST = 12
"""Samples of a part: more tell no more."""


def samples(parts: Iterable[tuple[Any, Any]]) -> list[str]:
    """Some texts that a parsed pattern matches."""
    found = [""]
    for part in parts:
        ones = _of_part(*part)
        found = [a + b for b in ones for a in found][:_MOST] if ones else found
    return found


def _of_part(kind: Any, value: Any) -> list[str]:
    if kind is sre.LITERAL:
        return [chr(value)]
    if kind is sre.NOT_LITERAL:
        return [c for c in "a._1" if c != chr(value)]
    if kind is sre.ANY:
        return ["a", ".", "_", "1"]
    if kind is sre.IN:
        return _characters(value)
    if kind is sre.BRANCH:
        each = [samples(branch) for branch in value[1]]
        return [texts[at] for at in range(_MOST) for texts in each if at < len(texts)]
    if kind is sre.SUBPATTERN:
        return samples(value[-1])
    if kind in _REPEATS:
        least, most, body = value
        once = samples(body)
        return [text * max(least, 1) for text in once] if most else [""]
    return []  # a place or a look around: no text


_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def _repetitions(parts: Iterable[tuple[Any, Any]], before: str = "") -> Iterator[tuple[str, Any]]:
    """(a text that leads to it, what it repeats) of each long repetition of a parsed pattern."""
    for kind, value in parts:
        if kind in _REPEATS:
            if value[1] > 1:
                yield before, value[2]
            yield from _repetitions(value[2], before)
        elif kind is sre.SUBPATTERN:
            yield from _repetitions(value[-1], before)
        elif kind is sre.BRANCH:
            for branch in value[1]:
                yield from _repetitions(branch, before)
        ones = _of_part(kind, value)
        before += ones[0] if ones else ""


_AFTER = ("", "!", "\n", "\0", "!\n", "a", ".", "$", "\x80")


@cache
def pumps(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """(before, unit, after) of texts `before + unit * n + after` that may take long."""
    parsed = sre_parser.parse(pattern.pattern, pattern.flags)
    whole = [text for text in samples(parsed) if text]
    letters = sorted({c for text in whole for c in text} | set("a_.1 "))
    found = [("", unit, after) for unit in (*letters, *whole) for after in _AFTER[:4]]
    for before, body in _repetitions(parsed):
        units = [text for text in samples(body) if text]
        found += [(before, unit, after) for unit in units for after in _AFTER]
        found += [("", before + unit, after) for unit in units for after in _AFTER[:3]]
    return list(dict.fromkeys(found))


def pumped(pump: tuple[str, str, str], length: int) -> str:
    """The text of a pump, of about `length` characters."""
    before, unit, after = pump
    return before + unit * max(1, length // len(unit)) + after
