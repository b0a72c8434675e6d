"""What was chosen before, to go back to and forth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """What to go to, and what of the present one that takes back or makes again, in words."""

    value: T
    words: str


class History(Generic[T]):
    """Changes of a value. A percentage that moves on and on is one change."""

    def __init__(self, described: Callable[[T, T], str]) -> None:
        """Go by `described` for what is other in the second value than in the first, in words."""
        self._described = described
        self._before: list[T] = []
        self._after: list[T] = []
        self._sliding = ""

    def add(self, before: T, after: T, sliding: str = "") -> None:
        """Remember that `before` became `after`; what was undone cannot be made again then.
        `sliding` names the one percentage that was moved, where nothing else was changed."""
        if not sliding or sliding != self._sliding:
            self._before.append(before)
        self._sliding = sliding
        self._after.clear()

    def undo(self, present: T) -> Step[T] | None:
        """Return what was before the last change; None where there is none."""
        return self._go(self._before, self._after, present, back=True)

    def redo(self, present: T) -> Step[T] | None:
        """Return what was undone last; None where there is none."""
        return self._go(self._after, self._before, present, back=False)

    def _go(self, source: list[T], target: list[T], present: T, *, back: bool) -> Step[T] | None:
        if not source:
            return None
        self._sliding = ""
        value = source.pop()
        target.append(present)
        words = self._described(value, present) if back else self._described(present, value)
        return Step(value, words)
