"""What became of the adapters at a step, counted and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from spectrum_tui.core.numbers import counted


@dataclass(frozen=True, slots=True)
class Moves:
    """{rank: layers} that grew and shrank, and how many were switched on and off."""

    up: dict[int, int]
    down: dict[int, int]
    on: int
    off: int

    @property
    def any(self) -> bool:
        """Whether anything changed."""
        return bool(self.up or self.down or self.on or self.off)

    @property
    def text(self) -> str:
        """The same in words: `6 layers up to rank 32, 2 off`."""
        parts = list(self._parts())
        if not parts:
            return "no adapter changes"
        number, _, rest = parts[0].partition(" ")
        return ", ".join([f"{counted(int(number), 'layer')} {rest}", *parts[1:]])

    def _parts(self) -> Iterator[str]:
        for way, ranks in (("up", self.up), ("down", self.down)):
            yield from (f"{ranks[rank]} {way} to rank {rank}" for rank in sorted(ranks)[::-1])
        if self.on:
            yield f"{self.on} on"
        if self.off:
            yield f"{self.off} off"


def moves_of(changes: list[tuple[int, int, bool, bool]]) -> Moves:
    """Count (rank before, rank now, trained before, trains now) of every layer."""
    up = Counter(now for before, now, _, _ in changes if now > before)
    down = Counter(now for before, now, _, _ in changes if now < before)
    on = sum(trains and not trained for _, _, trained, trains in changes)
    off = sum(trained and not trains for _, _, trained, trains in changes)
    return Moves(dict(up), dict(down), on, off)
