"""How layers are shown of which a person said whether they train."""

from __future__ import annotations

from spectrum_tui.core.results.selection import Hand

GLYPHS = {Hand.PINNED: "◉", Hand.BANNED: "⊘", Hand.OUTSIDE: "╱"}
"""Told apart without colour."""
SHORT = {Hand.PINNED: "pinned", Hand.BANNED: "banned", Hand.OUTSIDE: "outside"}
WORDS = {
    Hand.PINNED: "pinned: trains at any percentage",
    Hand.BANNED: "banned: never trains",
    Hand.OUTSIDE: "in a block that stays frozen",
}
