"""A comparison in words: what the command prints and the screen shows alike."""

from __future__ import annotations

import math
from pathlib import Path

from spectrum_tui.core.comparison.compare import Comparison
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.results.results import Generation


def notes(comparison: Comparison) -> list[str]:
    """What has to be known to read the comparison rightly."""
    found = []
    if renamed := comparison.pairs.renamed:
        layers = counted(renamed, "layer has", "layers have")
        found.append(f"{layers} another name in B: matched by type and number.")
    if unranked := comparison.unranked:
        layers = counted(unranked, "layer has", "layers have")
        found.append(f"{layers} a score in one file only, and no change of rank.")
    made = {result.provenance.generation for result in (comparison.a, comparison.b)}
    if len(made) > 1 and Generation.BEFORE_2025_04 in made:
        found.append("One file is from before April 2025: there, no noise at all is Infinity.")
    return found


def file_names(comparison: Comparison) -> tuple[str, str]:
    """The names of the two files, with as many folders as tell them apart; "" without a file."""
    sources = (comparison.a.source, comparison.b.source)
    a, b = (Path(source).parts for source in sources)
    apart = (n for n in range(1, max(len(a), len(b)) + 1) if a[-n:] != b[-n:])
    n = next(apart, 1)
    first, second = (str(Path(*parts[-n:])) if parts else "" for parts in (a, b))
    return first, second


def rho_text(rho: float) -> str:
    """`0.912`, `-0.050`, a dash where there is none."""
    return "–" if math.isnan(rho) else f"{rho:.3f}"


def share_text(share: float) -> str:
    """A whole percentage, `62 %`; a dash where there is none."""
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def rank_text(rank: float) -> str:
    """`3`, or `3.5` for layers that share two places."""
    return f"{rank:.0f}" if rank == int(rank) else f"{rank:.1f}"


def change_text(before: bool, after: bool) -> str:
    """What becomes of a layer in the selection from A to B."""
    if before == after:
        return "stays" if after else ""
    return "enters" if after else "leaves"
