"""Text in terminal cells: cut to columns, and never such that it controls the terminal.

Names come out of files, so they may hold anything: wide characters, line breaks, escape codes.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from spectrum_tui.core.text import has_controls, safe

_EIGHTHS = " ▏▎▍▌▋▊▉"


def printable(text: str) -> str:
    """Return the text with what is not seen as itself replaced: an escape code would move the
    cursor."""
    return safe(text, "�")


def keep_end(text: str, width: int) -> str:
    """Exactly `width` cells; a longer text loses its beginning, as the end tells names apart.

    >>> keep_end("mlp.experts.17.down_proj", 12), keep_end("lm_head", 9)
    ('…7.down_proj', 'lm_head  ')
    """
    text = printable(text)
    if cell_len(text) > width > 0:
        while cell_len(text) >= width:
            text = text[1:]
        text = f"…{text}"
    return set_cell_size(text, max(0, width))


def bar(share: float, width: int) -> str:
    """Return a bar of exactly `width` cells in eighths of a cell; any share above 0 is visible.

    >>> bar(0.5, 4), bar(0.001, 4), bar(0.0, 2)
    ('██  ', '▏   ', '  ')
    """
    eighths = min(8 * width, max(round(share * 8 * width), 1 if share > 0 else 0))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


class Printable(LineFilter):
    """Goes over each line before it is drawn.

    Names are data and stay exact for the files that are written; on the screen a character that a
    terminal obeys is a `?`, or nothing where it has no width. Lines keep their length.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same segments with text that can be seen."""
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
