"""The marks of layers and cells: one row for each, told apart without colour."""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from spectrum_tui.core.results.selection import Hand


class Sign(IntEnum):
    """Its `glyph`; what a legend calls it, in `short`; and `words` on a layer that has it."""

    glyph: str
    short: str
    words: str

    def __new__(cls, glyph: str, short: str = "", words: str = "") -> Self:
        """Count from 0, so that an array can hold it."""
        sign = int.__new__(cls, len(cls.__members__))
        sign._value_ = len(cls.__members__)
        sign.glyph, sign.short, sign.words = glyph, short, words
        return sign


class Mark(Sign):
    """How much of a cell is selected: only a family of experts has a part. What a person said of
    all layers of a cell goes before."""

    NONE = " "
    PART = "◐", "in part"
    ALL = "●", "selected", "selected"
    PINNED = "◉", "pinned", "pinned: trains at any percentage"
    BANNED = "⊘", "banned", "banned: never trains"
    OUTSIDE = "╱", "outside", "in a block that stays frozen"
    EMBEDDINGS = "◆", "trains anyway", "trains with embeddings and head"


MARKS = tuple(Mark)
BY_HAND = {hand: Mark[hand.name] for hand in Hand if hand}
"""The mark of what a person said."""
