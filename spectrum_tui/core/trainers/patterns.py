"""One line of a recipe as a trainer understands it.

Nearly every line is a name, or a name in which `.` stands for any character. Those become a
`Form` of literal characters and `ANY_CHAR`, which a sorted list of names answers at once; only
what really is a regular expression stays one, to be tried name by name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from spectrum_tui.core.trainers.safety import HazardError, worst_steps

ANY_CHAR = "\0"
"""Stands for exactly one character, whichever; no name holds a NUL."""
Rows = tuple[int, int | None]
"""The rows [start, stop) of the first dimension that train; None for all from start on."""

NAME = re.compile(r"[A-Za-z_][\w.\-/]*", re.ASCII)
"""Names that YAML reads as a plain string and that, as a regular expression, match themselves."""

_PLAIN = re.compile(r"(\^?)([\w./\- ]*)(\$?)")
_TOKEN = r"[\w/\- ,:;=@%&~<>'\"!]|\.|\\\W|\[[^\\\^\]]\]"
_ESCAPED = re.compile(rf"(\^?)((?:{_TOKEN})*)(\$?)")
_TOKENS = re.compile(_TOKEN)
_ROWS = re.compile(r"(.+)\[([0-9]*)(?:(:)([0-9]*))?\]")
_LONE_DOT = re.compile(r"\.(?!\+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a name must look like to train.

    `literal` stands at the name's `start` or anywhere, and reaches its `end` where that is set.
    Where `regex` is not empty it is tried instead; `literal` then is how its matches begin, if
    they are known to. `rows` limits what trains of a parameter.
    """

    literal: str
    start: bool = False
    end: bool = False
    regex: str = ""
    rows: Rows | None = None


Understand = Callable[[str], Form]


def substring(pattern: str) -> Form:
    """`pattern in name`."""
    return Form(literal=pattern)


def beginning(pattern: str) -> Form:
    """`name.startswith(pattern)`."""
    return Form(literal=pattern, start=True)


def at_start(pattern: str) -> Form:
    """`re.match(pattern, name)`."""
    return _regular(pattern, start=True)


def anywhere(pattern: str) -> Form:
    """`re.search(pattern, name)`."""
    return _regular(pattern, start=False)


def anchored_or_substring(pattern: str) -> Form:
    """`re.search` for what begins with `^` or ends with `$`, `in` for the rest."""
    is_regex = pattern.startswith("^") or pattern.endswith("$")
    return anywhere(pattern) if is_regex else substring(pattern)


def as_axolotl(pattern: str) -> Form:
    """`re.match` with every dot taken literally, but for `.+`; rows cut off the end before.

    Raises ValueError for rows that end before they start.
    """
    plain = _PLAIN.fullmatch(pattern)
    if plain:
        return Form(literal=plain[2], start=True, end=bool(plain[3]))
    name, rows = axolotl_rows(pattern)
    return replace(at_start(_LONE_DOT.sub(r"\\.", name)), rows=rows)


def axolotl_rows(pattern: str) -> tuple[str, Rows | None]:
    """Return the pattern without what axolotl takes as rows (`[3]`, `[2:5]`, `[:5]`, `[]`), and
    those."""
    found = _ROWS.fullmatch(pattern)
    if found is None:
        return pattern, None
    name, first, colon, last = found.groups()
    if not colon and first:
        return name, (int(first), int(first) + 1)
    start, stop = int(first or 0), int(last) if last else None
    if stop is not None and start >= stop:
        raise ValueError(f"the rows of {pattern} end before they start")
    return name, (start, stop)


def _regular(pattern: str, *, start: bool) -> Form:
    plain = _PLAIN.fullmatch(pattern)
    if plain:
        return Form(
            literal=plain[2].replace(".", ANY_CHAR),
            start=start or bool(plain[1]),
            end=bool(plain[3]),
        )
    escaped = _ESCAPED.fullmatch(pattern)
    if escaped:
        literal = "".join(_meaning(token) for token in _TOKENS.findall(escaped[2]))
        return Form(literal=literal, start=start or bool(escaped[1]), end=bool(escaped[3]))
    anchored = start or pattern.startswith("^")
    return Form(literal=_literal_head(pattern) if anchored else "", start=start, regex=pattern)


def _meaning(token: str) -> str:
    if token == ".":
        return ANY_CHAR
    return token if len(token) == 1 else token[1]


_HEAD = re.compile(rf"\^?((?:{_TOKEN})*)")


def _literal_head(pattern: str) -> str:
    """Return the characters that every match begins with, as far as that is plain to see."""
    if "|" in re.sub(r"\([^()]*\)", "", pattern):
        return ""
    found = _HEAD.match(pattern)
    tokens = _TOKENS.findall(found[1]) if found else []
    if found and pattern[found.end() : found.end() + 1] in ("*", "?", "{"):
        tokens = tokens[:-1]  # it may stand there no time at all
    return "".join(map(_meaning, tokens))


def compiled(form: Form, length: int) -> Callable[[str], object]:
    """Return the function that tries a regular expression on a name of at most `length`.

    Raises HazardError for one that cannot be tried, and for what is no regular expression.
    """
    worst_steps(form.regex, length, anywhere=not form.start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sets that may mean something else one day
            pattern = re.compile(form.regex)
    except (re.error, RecursionError, OverflowError) as exc:
        reason = f"it is not a regular expression ({exc})"
        raise HazardError(reason, invalid=True) from None
    return pattern.match if form.start else pattern.search
