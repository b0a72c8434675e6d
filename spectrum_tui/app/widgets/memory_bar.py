"""What memory is for, as a bar: weights, gradients, optimizer state, activations."""

from __future__ import annotations

from itertools import accumulate, pairwise

from textual.content import Content

from spectrum_tui.core import numbers
from spectrum_tui.core.memory.estimate import Estimate
from spectrum_tui.core.policy_values import Budget

PARTS = (
    ("weights", "█", "$primary"),
    ("gradients", "▓", "$secondary"),
    ("optimizer", "▒", "$accent"),
    ("activations", "░", "$warning"),
)
"""Name, glyph and colour of a part: they differ without colour too."""
TRACK = "$foreground 25%"


def memory_bar(
    estimate: Estimate, width: int, *, most: float, limit: float, track: str = " "
) -> Content:
    """Return a bar of `width` cells that `most` bytes fill, with a mark at `limit` bytes; 0 for
    none. What is beyond the last cell is not drawn."""
    sizes = (estimate.parts[name] for name, _, _ in PARTS)
    ends = [min(width, round(at / most * width)) for at in accumulate(sizes, initial=0.0)]
    parts = [
        (glyph * (end - start), colour)
        for (_, glyph, colour), (start, end) in zip(PARTS, pairwise(ends), strict=True)
    ]
    bar = Content.assemble(*parts, (track * (width - ends[-1]), TRACK))
    if not 0 < limit <= most:
        return bar
    at = min(width - 1, round(limit / most * width))
    return Content.assemble(bar[:at], ("│", "bold $foreground"), bar[at + 1 :])


def fits_text(estimate: Estimate, card: Budget) -> tuple[str, str]:
    """Return whether it fits into a card, in words that keep their length, and their colour."""
    over = estimate.total - card.amount
    if over > 0:
        return f"{card_name(card)} ✗ {numbers.size(over)} too much", "$text-error"
    return f"{card_name(card)} ✓ fits, {numbers.size(-over)} free", "$text-success"


def card_name(card: Budget) -> str:
    """Return the memory of a card as people write it: `24 GiB`."""
    return f"{card.number} {card.unit}"
