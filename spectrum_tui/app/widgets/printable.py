"""Nothing that is shown controls the terminal, whatever a file or an answer held."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from spectrum_tui.core.text import has_controls


class Printable(LineFilter):
    """Goes over each line before it is drawn.

    Names are data and stay exact for the files that are written; on the screen a character that a
    terminal obeys is a `?`, or nothing where it has no width. Lines keep their length.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments with text that can be seen."""
        if not any(has_controls(segment.text) for segment in segments):
            return segments
        return [
            segment
            if segment.control or not has_controls(segment.text)
            else Segment("".join(map(_seen, segment.text)), segment.style)
            for segment in segments
        ]


def _seen(character: str) -> str:
    return "?" * cell_len(character) if has_controls(character) else character


PRINTABLE = Printable()
