"""What several commands say alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spectrum_tui.stdio.streams import say

if TYPE_CHECKING:
    from spectrum_tui.core.recipes.choice import Choice
    from spectrum_tui.core.results.policy import Policy
    from spectrum_tui.core.results.selection import Selection


def say_too_small(selection: Selection, policy: Policy) -> None:
    """Which types are too small for a percentage, if any are."""
    if text := selection.too_small(policy):
        say(f"note: {text}")


def say_frozen(choice: Choice) -> None:
    """Say what frozen embeddings mean for gradient checkpointing, where a list of names cannot say
    it to the trainer."""
    from spectrum_tui.core.recipes.choice import FROZEN_EMBEDDINGS  # later: it needs numpy

    if choice.selection.result.embeddings and not choice.selection.heads(choice.policy):
        say(f"note: {FROZEN_EMBEDDINGS}")


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells])
