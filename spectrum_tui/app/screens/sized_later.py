"""A results screen whose scores get their sizes after they are shown."""

from __future__ import annotations

from textual.screen import Screen

from spectrum_tui.core.results.results import Result


class SizedLater(Screen[None]):
    """Makes way for a screen of the same scores with sizes: at once, or when a dialog that lies
    over it is closed."""

    _sized: Result | None = None

    def with_result(self, result: Result) -> Screen[None]:
        """A screen that shows another result in the same way."""
        raise NotImplementedError

    def take_sizes(self, result: Result) -> None:
        """Show these, which are the same scores with sizes."""
        self._sized = result
        if self.app.screen is self:
            self._make_way()

    def on_screen_resume(self) -> None:
        """A dialog over this was closed."""
        if self._sized is not None:
            self.call_after_refresh(self._make_way)

    def _make_way(self) -> None:
        if self._sized is not None and self.app.screen is self:
            sized, self._sized = self._sized, None
            self.app.switch_screen(self.with_result(sized))
