"""Text that is longer than its room."""

from __future__ import annotations

from typing import Any

from textual.containers import VerticalScroll


class TextScroll(VerticalScroll):
    """Scrolls at once: an animation is many repaints over a slow line, and a key that comes
    before a deferred scroll has begun would start from where that one started."""

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        """Scroll to a place."""
        super().scroll_to(x, y, **{**options, "animate": False, "immediate": True})
