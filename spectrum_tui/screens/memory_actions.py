"""What the results screen does about memory."""

from __future__ import annotations

from spectrum_tui.core.selection import Selection
from spectrum_tui.screens.sized_later import SizedLater
from spectrum_tui.widgets.memory_line import NO_SIZES, MemoryLine
from spectrum_tui.widgets.percent_slider import PercentSlider


class MemoryActions(SizedLater):
    """Counts after the first frame, and opens the dialog."""

    memory: MemoryLine
    slider: PercentSlider
    head: bool

    @property
    def selection(self) -> Selection:
        """What percentages select."""
        raise NotImplementedError

    def apply(self, percent: int) -> None:
        """Show what `percent` selects."""
        raise NotImplementedError

    def count_memory(self) -> None:
        """Read the sizes, and say what the selection takes."""
        self.memory.prepare()
        self.apply(self.slider.value)

    def action_memory(self) -> None:
        """Show what every preset takes, and ask for what fits."""
        if not self.memory.possible:
            self.notify(NO_SIZES, title="Memory", severity="warning", markup=False)
            return
        from spectrum_tui.screens.memory import MemoryScreen

        dialog = MemoryScreen(self.memory, self.selection, self.slider.value, head=self.head)
        self.app.push_screen(dialog, self._after_memory)

    def _after_memory(self, percent: int | None) -> None:
        if percent:
            self.slider.value = percent
        self.apply(self.slider.value)
