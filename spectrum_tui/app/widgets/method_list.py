"""The methods of a proof as a list of boxes, each with its percentage and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from spectrum_tui.app.proof_offers import INSTALL, NEEDED, Offer, again_at, moved
from spectrum_tui.app.proof_setup import Costs
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.key_footer import hidden_key
from spectrum_tui.app.widgets.line_view import LineView
from spectrum_tui.core import numbers

STEP = 5
"""Percent of a key."""
_BOX, _NAME, _PERCENT, _MEMORY, _TIME = 4, 13, 10, 10, 13


class MethodList(LineView):
    """Space checks, left and right set the percentage; + adds one of half of it."""

    HEADER_LINES = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "method--muted",
        "method--checked",
        "method--problem",
        "method--percent",
    }
    DEFAULT_CSS = """
    MethodList {
        height: 1fr;
        & > .line-view--header { color: $foreground 60%; text-style: none; }
        & > .method--muted { color: $foreground 60%; }
        & > .method--checked { color: $success; text-style: bold; }
        & > .method--problem { color: $warning; }
        & > .method--percent { color: $accent; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "check", "Check", tooltip="Compare this method, or do not"),
        Binding(
            "right,l", f"percent({STEP})", "Percent", key_display="←→",
            tooltip="Its percentage, and that of all methods of the same size",
        ),
        hidden_key("left,h", f"percent({-STEP})", "Less", "A lower percentage"),
        Binding("plus,equals_sign", "more", "Another", key_display="+",
                tooltip="The same method once more, at half of the percentage"),
        hidden_key("minus,delete", "less", "Remove", "Remove a line that was added"),
    ]  # fmt: skip

    class Changed(Message):
        """Other methods are checked, or others percentages set."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        super().__init__(len(offers), id="methods")
        self.offers = tuple(offers)
        self.costs = Costs()
        self.step = 0.0
        """Seconds of a step that trains everything, 0 where that is not known."""
        self.steps = 0
        self.missing: frozenset[str] = frozenset()

    def set_offers(self, offers: Sequence[Offer]) -> None:
        """Show these."""
        self.offers = tuple(offers)
        self.resize_lines(0, len(self.offers))
        self.refresh()
        self.post_message(self.Changed())

    def show(self, costs: Costs, step: float, steps: int) -> None:
        """Show what each takes, in rows of so many steps."""
        self.costs, self.step, self.steps = costs, step, steps
        self.refresh()

    def show_missing(self, packages: frozenset[str]) -> None:
        """Say at the methods that need them which packages are missing."""
        self.missing = packages
        self.refresh()

    # -- keys ----------------------------------------------------------------------------------

    def action_check(self) -> None:
        self._check(self.cursor)

    def _check(self, row: int) -> None:
        offers = list(self.offers)
        offers[row] = replace(offers[row], checked=not offers[row].checked)
        self.set_offers(offers)

    def action_percent(self, by: int) -> None:
        """Go to the next multiple of 5 %."""
        one = self.offers[self.cursor]
        if one.moves:
            at = one.percent / STEP
            next_one = math.floor(at + 1) if by > 0 else math.ceil(at - 1)
            self.set_offers(moved(self.offers, self.cursor, next_one * float(STEP)))

    def action_more(self) -> None:
        """Add the same method at half of its percentage, to compare sizes."""
        before = len(self.offers)
        self.set_offers(again_at(self.offers, self.cursor))
        if len(self.offers) > before:
            self.cursor += 1

    def action_less(self) -> None:
        """Remove a line whose method is there without it."""
        one = self.offers[self.cursor]
        same = [o for o in self.offers if (o.kind, o.metric) == (one.kind, one.metric)]
        if len(same) > 1:
            self.set_offers([o for row, o in enumerate(self.offers) if row != self.cursor])

    def click_row(self, row: int, x: int) -> None:
        super().click_row(row, x)
        if x < _BOX:
            self._check(row)

    # -- drawing -------------------------------------------------------------------------------

    def _room(self, width: int) -> int:
        used = _BOX + _NAME + _PERCENT + _MEMORY + (_TIME if self.step else 0)
        return max(0, width - used - 1)

    def render_header(self, line: int, width: int) -> Strip:
        text = f"{'':{_BOX}}{'method':<{_NAME}}{'percent':<{_PERCENT}}"
        text += f"{'trains':<{self._room(width)}}{'memory':>{_MEMORY}}"
        if self.step:
            text += f"{'a row':>{_TIME}}"
        return Strip([Segment(text, self.line_style("line-view--header"))])

    def render_row(self, row: int, width: int) -> Strip:
        """One method: its box, name and percentage, then what it trains and takes."""
        one, cursor = self.offers[row], self.with_cursor(row)
        muted = () if one.checked else ("method--muted",)
        plain = self.line_style(*muted, *cursor)
        box = self.line_style("method--checked" if one.checked else "method--muted", *cursor)
        percent = self.line_style(
            "method--percent" if one.checked and one.moves else "method--muted", *cursor
        )
        problem = self._problem(one)
        room = self._room(width)
        said = self.line_style("method--problem" if problem else "method--muted", *cursor)
        estimate = self.costs.estimates.get(one.method(Path()))
        memory = numbers.size(estimate.total) if estimate else "–"
        segments = [
            Segment("[✓] " if one.checked else "[ ] ", box),
            Segment(_cut(one.name, _NAME - 1) + " ", plain),
            Segment(_cut(_percent_text(one), _PERCENT), percent),
            Segment(_cut(printable(problem or one.what), room), said),
            Segment(f"{memory:>{_MEMORY}}", plain),
        ]
        if self.step:
            seconds = self.step * self.steps * (estimate.step if estimate else 1.0)
            segments.append(Segment(f"{numbers.duration(seconds):>{_TIME}}", plain))
        return Strip([*segments, Segment(" ", plain)])

    def _problem(self, one: Offer) -> str:
        if NEEDED.get(one.kind) in self.missing:
            return f"needs {NEEDED[one.kind]}: {INSTALL}"
        return self.costs.refused.get(one.method(Path()), "")


def _percent_text(one: Offer) -> str:
    if not one.percent or one.kind == "policy":
        return ""
    return f"‹ {one.percent:g} % ›" if one.moves else f"  {one.percent:g} %"


def _cut(text: str, cells: int) -> str:
    if cell_len(text) > cells > 0:
        text = f"{set_cell_size(text, cells - 1)}…"
    return set_cell_size(text, max(0, cells))
