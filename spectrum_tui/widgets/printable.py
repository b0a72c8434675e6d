"""Nothing that is shown controls the terminal, whatever a file or an answer held."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from spectrum_tui.core.text import is_seen


class Printable(LineFilter):
    """Goes over each line before it is drawn.

    Names are data and stay exact for the files that are written; on the screen a character that
    is not seen as itself is a `?`, or nothing where it has no width. Lines keep their length.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments with text that can be seen."""
        if all(is_seen(segment.text) for segment in segments):
            return segments
        return [
            segment
            if segment.control or is_seen(segment.text)
            else Segment("".join(map(_seen, segment.text)), segment.style)
            for segment in segments
        ]


def _seen(character: str) -> str:
    return character if is_seen(character) else "?" * cell_len(character)


PRINTABLE = Printable()
