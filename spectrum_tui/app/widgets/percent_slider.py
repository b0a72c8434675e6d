"""The percentage slider: one row that keys, digits, the mouse and the wheel all move.

It calls `on_change` while it handles the key, before anything is drawn: the thumb, the table, the
preview and the totals then share one frame. A message would paint the thumb first and the rest one
60 Hz tick later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.core.policy_values import PER_TYPE, RULES

LOWEST, HIGHEST = 1, 100
"""0 % selects nothing, and an empty selection is never written."""
TYPING_SECONDS = 1.0
"""How long typed digits still belong to one number."""
PERCENT_KEYS: list[BindingType] = [
    Binding(
        "plus,equals_sign",
        "percent(1)",
        "Percent",
        key_display="+ _",
        tooltip="One percent more; _ is one less, digits are a percentage",
    ),
    hidden_key("underscore", "percent(-1)", "1 % less", "One percent less"),
    hidden_key("shift+right", "percent(10)", "10 % more", "Ten percent more"),
    hidden_key("shift+left", "percent(-10)", "10 % less", "Ten percent less"),
]
"""Keys that move the slider of a screen, whatever has the focus, by `action_percent`."""
_TYPED = re.compile(r"\d{1,3}(\.\d?)?", re.ASCII)


class PercentSlider(Widget, can_focus=True):
    """A percentage from 1 to 100; the keys and the mouse go by whole ones."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "percent-slider--text",
        "percent-slider--fill",
        "percent-slider--thumb",
        "percent-slider--track",
    }
    DEFAULT_CSS = """
    PercentSlider {
        height: 1;
        width: 1fr;
        min-width: 30;
        & > .percent-slider--text { color: $foreground; text-style: bold; }
        & > .percent-slider--fill { color: $primary; }
        & > .percent-slider--thumb { color: $foreground; }
        & > .percent-slider--track { color: $foreground 25%; }
        &:focus > .percent-slider--text { color: $accent; text-style: bold; }
        &:focus > .percent-slider--thumb { color: $accent; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "right,l,plus,equals_sign",
            "percent(1)",
            "Percent",
            key_display="←→",
            tooltip="One percent less or more",
        ),
        hidden_key("left,h,underscore", "percent(-1)", "1 % less", "One percent less"),
        hidden_key("shift+left,pagedown", "percent(-10)", "10 % less", "Ten percent less"),
        hidden_key("shift+right,pageup", "percent(10)", "10 % more", "Ten percent more"),
        hidden_key("home", "set(1)", "1 %", "Minimum: 1 %"),
        hidden_key("end", "set(100)", "100 %", "Every layer: 100 %"),
    ]

    value: reactive[float] = reactive(50, init=False)
    """The percentage; values outside 1..100 are clamped."""

    def __init__(self, value: float = 50, on_change: Callable[[float], None] | None = None) -> None:
        self._styles_cached: dict[str, Style] = {}
        super().__init__()
        self.set_reactive(PercentSlider.value, self.validate_value(value))
        self._on_change = on_change
        self._what, self._instead = RULES[PER_TYPE].short, ""
        self._typed = ""
        self._typing: Timer | None = None
        self._dragging = False

    def say(self, what: str, instead: str = "") -> None:
        """Say of what the percentage is, or what decides instead until it is moved."""
        if (what, instead) != (self._what, self._instead):
            self._what, self._instead = what, instead
            self.refresh()

    def validate_value(self, value: float) -> float:
        return max(LOWEST, min(HIGHEST, value))

    def watch_value(self, value: float) -> None:
        """Tell the owner at once."""
        if self._on_change is not None:
            self._on_change(value)

    def action_percent(self, by: int) -> None:
        """Move by whole percents; from a fraction to the next of them first."""
        self._end_typing()
        self.value = (math.floor(self.value) if by > 0 else math.ceil(self.value)) + by

    def action_set(self, value: float) -> None:
        self._end_typing()
        self.value = value

    # -- typed digits -------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Digits make a number: `7`, `12.5`, `100`; backspace takes the last one back."""
        if event.key == "backspace" and self._typed:
            typed = self._typed[:-1]
        elif event.character is not None and event.character in "0123456789.":
            typed = (self._typed + event.character).lstrip("0.")
            if typed and not (_TYPED.fullmatch(typed) and float(typed) <= HIGHEST):
                typed = event.character.strip(".0")
        else:
            return
        event.stop()
        self._type(typed)

    def _type(self, typed: str) -> None:
        self._end_typing()
        self._typed = typed
        if typed:
            self._typing = self.set_timer(TYPING_SECONDS, self._end_typing)
            self.value = float(typed) if typed[-2:-1] == "." else int(float(typed))

    def _end_typing(self) -> None:
        if self._typing is not None:
            self._typing.stop()
            self._typing = None
        self._typed = ""
        self.refresh()

    # -- mouse --------------------------------------------------------------------------------

    def on_mouse_down(self, event: events.MouseDown) -> None:
        event.stop()
        self._dragging = True
        self.capture_mouse()
        self._to_pointer(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Follow a drag, also outside the widget."""
        if self._dragging:
            event.stop()
            self._to_pointer(event)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragging:
            event.stop()
            self.release_mouse()

    def on_mouse_release(self) -> None:
        """End the drag: the mouse is free, whoever freed it."""
        self._dragging = False

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_percent(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_percent(-1)

    def _to_pointer(self, event: events.MouseEvent) -> None:
        cell = event.x - self.gutter.left - len(self._text())
        share = cell / (self._track_cells() - 1)
        self.action_set(round(LOWEST + share * (HIGHEST - LOWEST)))

    # -- drawing ------------------------------------------------------------------------------

    def _text(self) -> str:
        shown = f"{self._typed}_" if self._typed else f"{self.value:g}"
        text = self._instead or f"Top {shown} % {self._what}"
        return text.ljust(len(f"Top 100 % {self._what}") + 1)

    def _track_cells(self) -> int:
        return max(2, self.content_size.width - len(self._text()))

    def _style(self, part: str) -> Style:
        style = self._styles_cached.get(part)
        if style is None:
            style = self.get_component_rich_style(f"percent-slider--{part}")
            self._styles_cached[part] = style
        return style

    def notify_style_update(self) -> None:
        """Forget the styles: the theme or the focus changed."""
        super().notify_style_update()
        self._styles_cached.clear()

    def render_line(self, y: int) -> Strip:
        cells = self._track_cells()
        thumb = round((self.value - LOWEST) * (cells - 1) / (HIGHEST - LOWEST))
        decides = not self._instead
        segments = [
            Segment(self._text(), self._style("text")),
            Segment("━" * thumb, self._style("fill" if decides else "track")),
            Segment("●" if decides else "○", self._style("thumb" if decides else "track")),
            Segment("─" * (cells - 1 - thumb), self._style("track")),
        ]
        return Strip(segments).adjust_cell_length(self.content_size.width, self.rich_style)
