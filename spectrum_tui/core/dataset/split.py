"""Which examples are trained on, which are held out, and by which rates are found: by what they
say, so that it never changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.errors import DataError
from spectrum_tui.core.numbers import counted

SHARE = 0.1
"""Share of the examples that is held out, and of those that rates are found by."""

_BORDERS = (re.compile(r"\n\s*\n"), re.compile(r"\s+"))
"""Between paragraphs, between words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The two sides, and what was done to part them, as a sentence. `tuning` are examples by which
    rates are found: neither trained on nor held out."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    tuning: tuple[Example, ...] = ()
    note: str = ""


def split(dataset: Dataset, share: float = SHARE) -> Split:
    """Hold out about a share of the examples: those whose SHA-256 is among the lowest numbers.

    Equal examples are on one side, and a file that grows keeps its examples where they are. The
    lowest is held out and the highest trained on in any case. Of a single document its end is held
    out. Raises DataError for a single example of another form.
    """
    train, held_out, characters = _taken(dataset.examples, share)
    every = len(dataset.examples)
    if characters:
        note = f"Of the one document, its last {characters:,} characters are held out."
        if every > 1:
            note = f"The {every:,} documents are all equal: one of them is read. {note}"
    else:
        verb = "is" if len(held_out) == 1 else "are"
        note = f"{len(held_out):,} of {counted(every, 'example')} {verb} held out, by hash."
    if not train:
        raise DataError(
            "There is one example only: nothing can be held out."
            if every == 1
            else f"The {every:,} examples are all equal: nothing can be held out.",
            "Give more examples, or a text to judge by (--eval).",
            field="data",
        )
    return Split(train=train, held_out=held_out, note=note)


def with_tuning(parted: Split, share: float = SHARE) -> Split:
    """Set a share of what is trained on aside, by which rates are found: the numbers that follow
    those of held-out examples. Of a single document it is the end. Raises DataError for a single
    example of another form."""
    train, tuning, characters = _taken(parted.train, share, start=share)
    if not train:
        raise DataError(
            "There is one example only to train on: no rates can be found."
            if len(parted.train) == 1
            else "The examples to train on are all equal: no rates can be found.",
            "Give more examples, or the rates: --lr 2e-4.",
            field="data",
        )
    more = counted(len(tuning), "more example", "more examples")
    amount = f"{characters:,} more characters" if characters else more
    found = f"Rates are found by {amount}, which no row trains on."
    note = " ".join(filter(None, (parted.note, found)))
    return replace(parted, train=train, tuning=tuning, note=note)


def without(dataset: Dataset, held_out: Dataset) -> Split:
    """Train on the examples that are not held out too; raises DataError where none is left."""
    known = {example.characters for example in held_out.examples}
    train = tuple(one for one in dataset.examples if one.characters not in known)
    if not train:
        raise DataError(
            "Every example to train on is also held out.", "Name another text.", field="data"
        )
    both = len(dataset.examples) - len(train)
    note = f"{counted(both, 'example is', 'examples are')} also held out: not trained on."
    return Split(train=train, held_out=held_out.examples, note=note if both else "")


_Side = tuple[Example, ...]


def _taken(
    examples: Sequence[Example], share: float, *, start: float = 0.0
) -> tuple[_Side, _Side, int]:
    """Return what is left, what is taken, and the characters of that where it is the end of a
    single document."""
    places = [_place(example) for example in examples]
    lowest, highest = min(places), max(places)
    if lowest == highest:
        return _parted(examples[0], share)
    taken = [
        place == lowest or (start <= place < start + share and place != highest) for place in places
    ]
    pairs = list(zip(examples, taken, strict=True))
    left = tuple(example for example, out in pairs if not out)
    return left, tuple(example for example, out in pairs if out), 0


def _place(example: Example) -> float:
    """Return where an example stands between 0 and 1."""
    digest = hashlib.sha256(example.characters.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _parted(example: Example, share: float) -> tuple[_Side, _Side, int]:
    """Return the beginning of a document and its end; nothing where it cannot be cut."""
    text = example.text.strip()
    at = _border(text, len(text) - max(1, round(share * len(text)))) if example.text else 0
    if not at:
        return (), (), 0
    begin, end = Example(text=text[:at].rstrip()), Example(text=text[at:].lstrip())
    return (begin,), (end,), len(text) - at


def _border(text: str, wanted: int) -> int:
    """Return where to cut: at the paragraph nearest to a place if it is within a third of what
    follows that, else at the nearest word; 0 where there is none."""
    reach = (len(text) - wanted) // 3
    for pattern in _BORDERS:
        ends = [found.end() for found in pattern.finditer(text)]
        nearest = min(ends, key=lambda end: abs(end - wanted), default=0)
        if nearest and (pattern is _BORDERS[-1] or abs(nearest - wanted) <= reach):
            return nearest
    return 0
