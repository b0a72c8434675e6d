"""Whether a regular expression can be tried at all: how long a match may take at the worst.

Python's engine tries again and again where a pattern can match one text in several ways, and
`(a+)+$` on a name of 60 letters takes longer than anyone lives; it also holds the interpreter's
lock, so that no thread could end it. A process for each match with a deadline would need 50 ms to
start and still say nothing of why. Patterns are short and simple, so they are judged by their
text instead: a repetition inside a repetition is refused, and the rest is bounded by how many
ways there are to place its repetitions and choices in a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import comb

from spectrum_tui.core.text import LONGEST_PATTERN

MOST_STEPS = 5_000_000
"""Worst-case steps of one match that are still tried: about 0.1 s."""
MANY = 10
"""A bounded repetition up to this counts as that many choices, a longer one as endless."""

_REPEAT = re.compile(r"(\*|\+|\?|\{(\d*+)(,?)(\d*)\})[?+]?")
_SET = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!|>|P<\w+>|[aiLmsux]+(?:-[imsx]+)?:?|-[imsx]+:))?")


class HazardError(Exception):
    """A pattern that is not tried; the text says why, `invalid` whether it is none at all."""

    def __init__(self, reason: str, *, invalid: bool = False) -> None:
        super().__init__(reason)
        self.invalid = invalid


@dataclass(slots=True)
class _Group:
    """What an open group holds so far."""

    repeats: bool = False
    branches: int = 1


def worst_steps(pattern: str, length: int, *, anywhere: bool = False) -> int:
    """Return a bound on the steps that trying `pattern` on a name of `length` takes: in how many
    ways its repetitions can end in the name, times its choices. `anywhere` it may also begin.

    Raises HazardError for what must not be tried, or is not understood.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise HazardError(f"it is {len(pattern):,} characters long")
    return _Judge(pattern, max(length, 2), int(anywhere)).steps()


class _Judge:
    """Goes through a pattern once, group by group."""

    def __init__(self, pattern: str, length: int, endless: int) -> None:
        self._pattern, self._length = pattern, length
        self._endless, self._choices = endless, 1
        self._open = [_Group()]

    def steps(self) -> int:
        at = 0
        while at < len(self._pattern):
            at, inside = self._atom(at)
            repeat = _REPEAT.match(self._pattern, at)
            if repeat:
                self._repeated(repeat, inside)
                at = repeat.end()
                self._check()
        self._check()
        return self._worst()

    def _check(self) -> None:
        if self._worst() > MOST_STEPS:
            raise HazardError("it can match one name in too many ways")

    def _worst(self) -> int:
        return self._choices * comb(self._length + self._endless, self._endless)

    def _atom(self, at: int) -> tuple[int, _Group | None]:
        """(where the next part ends, the group that it closes)."""
        here = self._pattern[at]
        match here:
            case "\\":
                return self._escape(at), None
            case "[":
                found = _SET.match(self._pattern, at)
                return (found.end() if found else at + 1), None
            case "(":
                return self._enter(at), None
            case ")" if len(self._open) > 1:
                inside = self._open.pop()
                self._choices *= inside.branches
                self._open[-1].repeats |= inside.repeats or inside.branches > 1
                return at + 1, inside
            case "|":
                self._open[-1].branches += 1
        return at + 1, None

    def _escape(self, at: int) -> int:
        if self._pattern[at + 1 : at + 2] in tuple("123456789"):
            raise HazardError("it refers back to a part of itself")
        return at + 2

    def _enter(self, at: int) -> int:
        found = _GROUP.match(self._pattern, at)
        if found is None or self._pattern[found.end() : found.end() + 1] == "?":
            raise HazardError("it holds a condition or refers back to a part of itself")
        self._open.append(_Group())
        return found.end()

    def _repeated(self, repeat: re.Match[str], inside: _Group | None) -> None:
        most = self._most(repeat)
        if most > 1 and inside is not None and (inside.repeats or inside.branches > 1):
            raise HazardError("it repeats a part that itself repeats or chooses")
        self._open[-1].repeats = True
        if most > MANY:
            self._endless += 1
        else:
            self._choices *= max(2, most)

    def _most(self, repeat: re.Match[str]) -> int:
        """Return how often a part may stand, `length` for any number of times."""
        sign, least, comma, most = repeat.groups()
        if sign == "?":
            return 1
        if not sign.startswith("{"):
            return self._length + MANY
        if not least and not most:
            return 1  # no repetition: braces as they are
        if comma:
            return int(most[:6]) if most else self._length + MANY
        return int(least[:6])
