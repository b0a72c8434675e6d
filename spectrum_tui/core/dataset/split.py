"""Which examples are trained on and which are held out: by what they say, so that it never
changes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.errors import DataError
from spectrum_tui.core.numbers import counted

SHARE = 0.1
"""Share of the examples that is held out."""

_BORDERS = (re.compile(r"\n\s*\n"), re.compile(r"\s+"))
"""Between paragraphs, between words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The two sides, and what was done to part them, as a sentence."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    note: str = ""


def split(dataset: Dataset, share: float = SHARE) -> Split:
    """Hold out about a share of the examples: those whose SHA-256 is among the lowest numbers.

    Equal examples are on one side, and a file that grows keeps its examples where they are. The
    lowest is held out and the highest trained on in any case. Of a single document its end is held
    out. Raises DataError for a single example of another form.
    """
    places = [_place(example) for example in dataset.examples]
    lowest, highest = min(places), max(places)
    if lowest == highest:
        return _parted(dataset.examples[0], share)
    held = [place == lowest or (place < share and place != highest) for place in places]
    pairs = list(zip(dataset.examples, held, strict=True))
    return Split(
        train=tuple(example for example, out in pairs if not out),
        held_out=tuple(example for example, out in pairs if out),
        note=f"{counted(sum(held), 'example')} of {len(held):,} are held out, by hash.",
    )


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


def _place(example: Example) -> float:
    """Return where an example stands between 0 and 1."""
    digest = hashlib.sha256(example.characters.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _parted(example: Example, share: float) -> Split:
    text = example.text.strip()
    at = _border(text, len(text) - max(1, round(share * len(text)))) if example.text else 0
    if not at:
        raise DataError(
            "There is one example only: nothing can be held out.",
            "Give more examples, or a text to judge by (--eval).",
            field="data",
        )
    return Split(
        train=(Example(text=text[:at].rstrip()),),
        held_out=(Example(text=text[at:].lstrip()),),
        note=f"Of the one document, its last {len(text) - at:,} characters are held out.",
    )


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
