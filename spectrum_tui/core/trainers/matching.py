"""Which of a model's names each line of a recipe matches, for all lines of it at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, groupby, islice

from spectrum_tui.core.text import LONGEST_PATTERN
from spectrum_tui.core.trainers.names import Names, SortedTexts, Span, TooManyError
from spectrum_tui.core.trainers.patterns import ANY_CHAR, Form, Rows, Understand, compiled
from spectrum_tui.core.trainers.safety import HazardError

MOST_REGEXES = 2000
"""True regular expressions of a recipe that are tried: to compile 50,000 alone takes 15 s."""
SECONDS_FOR_REGEXES = 2.0
"""How long true regular expressions may be tried, all of a recipe together; each single try is
bounded by `safety`."""


@dataclass(eq=False, kw_only=True)
class Hits:
    """Spans of names by pattern, and why a pattern was not tried.

    `invalid` are those that a trainer would stop at, `untried` those that cost too much.
    """

    names: Names
    found: dict[str, tuple[SortedTexts, Sequence[Span]]] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    untried: dict[str, str] = field(default_factory=dict)

    def of(self, pattern: str) -> list[str]:
        """Return the names that one pattern matches, in the model's order."""
        texts, spans = self.found.get(pattern, (self.names.whole, ()))
        owners = {texts.owners[at] for first, after in spans for at in range(first, after)}
        return [self.names.names[owner] for owner in sorted(owners)]

    def count(self, pattern: str) -> int:
        """Return how many names one pattern matches, those counted twice that it stands in
        twice."""
        _, spans = self.found.get(pattern, (None, ()))
        return sum(after - first for first, after in spans)

    @cached_property
    def all(self) -> set[str]:
        """Every name that any pattern matches."""
        by_texts: dict[int, tuple[SortedTexts, list[Span]]] = {}
        for texts, spans in self.found.values():
            by_texts.setdefault(id(texts), (texts, []))[1].extend(spans)
        names = self.names.names
        return {
            names[texts.owners[at]] for texts, spans in by_texts.values() for at in _covered(spans)
        }


def _covered(spans: Iterable[Span]) -> list[int]:
    """Every number in any of the spans, once, however they overlap."""
    steps: dict[int, int] = {}
    for first, after in spans:
        steps[first] = steps.get(first, 0) + 1
        steps[after] = steps.get(after, 0) - 1
    ends = sorted(steps)
    depth = accumulate(steps[end] for end in ends)
    return [
        at
        for first, after, open_spans in zip(ends, ends[1:], depth, strict=False)
        if open_spans
        for at in range(first, after)
    ]


def hits(patterns: Iterable[str], understand: Understand, names: Names) -> Hits:
    """Return what each pattern matches; never raises, and takes seconds at most."""
    found = Hits(names=names)
    forms = _understood(patterns, understand, found)
    literal = {p: f for p, f in forms.items() if not f.regex and f.start}
    inside = {p: f for p, f in forms.items() if not f.regex and p not in literal}
    regular = {p: f for p, f in forms.items() if f.regex}
    for pattern, form in literal.items():
        _look_up(pattern, form, names.whole, found)
    regular |= _look_inside(inside, found)
    _try_each(regular, found)
    return found


def _understood(patterns: Iterable[str], understand: Understand, found: Hits) -> dict[str, Form]:
    forms = {}
    for pattern in dict.fromkeys(patterns):
        if len(pattern) > LONGEST_PATTERN:
            found.untried[pattern] = f"it is {len(pattern):,} characters long"
            continue
        try:
            form = understand(pattern)
        except ValueError as exc:
            found.invalid[pattern] = str(exc)
            continue
        if not (form.literal or form.regex or form.start):
            form = replace(
                form, start=True, end=False
            )  # nothing stands in every name, at its end too
        forms[pattern] = form
    found.rows.update({p: form.rows for p, form in forms.items() if form.rows})
    return forms


def _look_up(pattern: str, form: Form, texts: SortedTexts, found: Hits) -> None:
    try:
        spans = texts.beginning_with(form.literal, end=form.end)
    except TooManyError:
        found.untried[pattern] = "it matches too many names"
        return
    if spans:
        found.found[pattern] = (texts, spans)


def _look_inside(forms: Mapping[str, Form], found: Hits) -> dict[str, Form]:
    """Look for literals anywhere in names; returns those that must be tried name by name."""
    usual = {p: f for p, f in forms.items() if not f.literal.startswith(ANY_CHAR)}
    rest = {p: _as_regex(f) for p, f in forms.items() if p not in usual}
    if not usual:
        return rest
    try:
        tails = found.names.tails(form.literal for form in usual.values())
    except TooManyError:
        found.untried |= dict.fromkeys(usual, "it occurs in too many places")
        return rest
    for pattern, form in usual.items():
        _look_up(pattern, form, tails, found)
    return rest


def _as_regex(form: Form) -> Form:
    parts = ".".join(re.escape(part) for part in form.literal.split(ANY_CHAR))
    return Form(literal="", regex=parts + ("$" if form.end else ""))


def _try_each(forms: Mapping[str, Form], found: Hits) -> None:
    end = time.monotonic() + SECONDS_FOR_REGEXES
    for pattern in list(forms)[MOST_REGEXES:]:
        found.untried[pattern] = f"there are more than {MOST_REGEXES:,} regular expressions"
    for pattern, form in islice(forms.items(), MOST_REGEXES):
        try:
            places = list(_tried(form, found.names, end))
        except HazardError as exc:
            (found.invalid if exc.invalid else found.untried)[pattern] = str(exc)
        except TooManyError:
            found.untried[pattern] = "trying all the regular expressions takes too long"
        else:
            if places:
                found.found[pattern] = (found.names.whole, stretches(places))


def _tried(form: Form, names: Names, end: float) -> Iterator[int]:
    """Yield where the names are that a regular expression matches; raises HazardError, and
    TooManyError when the clock has reached `end`."""
    if time.monotonic() > end:
        raise TooManyError
    texts = names.whole
    matches = compiled(form, names.longest)
    for first, after in texts.beginning_with(form.literal, end=False):
        for at in range(first, after):
            if time.monotonic() > end:
                raise TooManyError
            if matches(texts.texts[at]):
                yield at


def stretches(places: Sequence[int]) -> list[Span]:
    """Return numbers in ascending order as spans without a gap.

    >>> stretches([1, 2, 3, 7])
    [(1, 4), (7, 8)]
    """
    runs = (list(run) for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0]))
    return [(run[0][1], run[-1][1] + 1) for run in runs]
