"""A percentage slider for the end of a tier, with the rank of its adapters beside it."""

from __future__ import annotations

from collections.abc import Callable

from textual import events

from spectrum_tui.app.widgets.percent_slider import HIGHEST, LOWEST, PercentSlider

LARGEST_OFFERED = 256


class TierSlider(PercentSlider):
    """`High    rank ‹ 32 ›   top  25 %  ━━━●───`; the arrows halve and double the rank."""

    def __init__(
        self,
        name: str,
        until: str,
        value: float,
        rank: int,
        on_change: Callable[[float], None],
    ) -> None:
        """`until` is the word before the percentage."""
        self.lowest: float = LOWEST
        self.rank = rank
        self._label, self._until = name, until
        super().__init__(value, on_change)

    def validate_value(self, value: float) -> float:
        return max(self.lowest, min(HIGHEST, value))

    def keep_above(self, lowest: float) -> None:
        self.lowest = lowest
        self.value = max(self.value, lowest)

    def change_rank(self, by: int) -> None:
        rank = min(LARGEST_OFFERED, max(1, self.rank * 2 if by > 0 else self.rank // 2))
        if rank != self.rank:
            self.rank = rank
            self.refresh()
            self.watch_value(self.value)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Change the rank by the arrows; on the track, move the end of the tier there."""
        event.prevent_default()  # else the slider's own handler runs besides
        arrows = event.x - self.gutter.left - len(self._before_rank())
        if event.x - self.gutter.left >= len(self._text()):
            super().on_mouse_down(event)
        elif 0 <= arrows < len(self._shown_rank()):
            event.stop()
            self.change_rank(1 if arrows >= len(self._shown_rank()) // 2 else -1)

    def _before_rank(self) -> str:
        return f"{'▸' if self.has_focus else ' '} {self._label:<8}rank "

    def _shown_rank(self) -> str:
        return f"‹ {self.rank:>3} ›"

    def _text(self) -> str:
        shown = f"{self._typed}_" if self._typed else f"{self.value:g}"
        return f"{self._before_rank()}{self._shown_rank()}   {self._until} {shown:>3} %  "
