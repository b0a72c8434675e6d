"""A proof in words: what a method trains, which row runs, what may be said at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from textual.content import Content

from spectrum_tui.app.proof_run import ProofView
from spectrum_tui.app.theme import MUTED
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.proof_table import label_of
from spectrum_tui.core import numbers
from spectrum_tui.core.proof.methods import Kind, parse_method
from spectrum_tui.core.proof.rates import rate_text
from spectrum_tui.core.proof.rows import Row
from spectrum_tui.core.text import shortened

_TRAINS: dict[Kind, str] = {
    "full": "trains every parameter",
    "top": "the best {share} of each layer type",
    "bottom": "the worst {share} of each layer type",
    "random": "any {share} of each layer type, drawn anew for each seed",
    "metric": "the best {share} of each layer type by {metric}",
    "policy": "the selection in {file}",
    "lora": "adapters on {best}",
    "qlora": "adapters on {best} of a 4-bit model",
    "tiers": "adapters, of a higher rank on {best}",
    "hybrid": "4-bit; {best} train whole, the next by adapters",
    "groups": "adapters on {best}, shared by similar neighbours",
    "dynamic": "adapters that follow the scores, at first of a higher rank on {best}",
}


def what_of(method: str) -> str:
    """Return what a method trains, in a few words."""
    parsed = parse_method(method)
    share = f"{parsed.percent:g} %"
    return _TRAINS[parsed.kind].format(
        share=share,
        best="all layers" if parsed.percent == 100 else f"the best {share}",
        metric=parsed.metric,
        file=Path(parsed.file).name,
    )


def live_lines(view: ProofView, width: int) -> Iterator[Content]:
    """Yield the row that runs, and how far all of them are."""
    row, progress = view.row, view.progress
    if view.phase == "stopping":
        yield Content.styled("● Stopping; every finished row is kept …", "$warning")
    elif row is None:
        yield Content.styled("● The next row begins …", MUTED)
    else:
        about = "about " if len(view.rates) < len(view.methods) else ""
        place = f"row {view.number} of {about}{view.expected}"
        doing = progress.doing if progress is not None else "starting"
        if progress is not None and progress.doing == "training":
            doing = f"step {progress.step:,} of {progress.steps:,}, loss {progress.loss:.3f}"
        yield Content.assemble(
            ("● ", "$accent"), (named(row), "bold"), (f"  {doing}", ""), (f"  {place}", MUTED)
        )
    text = f"  {view.share:4.0%}  ".replace("%", " %")
    left = numbers.about(view.left)
    text += f"{left} left" if math.isfinite(view.left) else "time left: not known yet"
    track = max(4, width - len(text))
    full = round(view.share * track)
    yield Content.assemble(
        ("━" * full, "$accent"), ("─" * (track - full), "$foreground 25%"), (text, "")
    )
    for note in view.notes[-1:]:
        yield Content.styled(printable(note), "$warning")


def named(row: Row) -> str:
    """Return what a row is called: `top:25, seed 1`, `lora, trying rate 5e-4`."""
    how = f"trying rate {rate_text(row.rate)}" if row.trial else f"seed {row.seed}"
    return f"{label_of(row.method)}, {how}"


def verdict_lines(view: ProofView) -> Iterator[Content]:
    """Yield how far a proof came that does not run, and what its losses allow to be said."""
    done = sum(not one.trial for one in view.outcomes)
    planned = len(view.methods) * view.seeds
    match view.phase:
        case "stopped":
            rows = numbers.part_of(done, planned, "row", "is kept", "are kept")
            yield Content.styled(f"■ Stopped: {rows}; s goes on.", "$warning")
        case "failed":
            yield Content.styled(printable(f"✗ {view.error}"), "$error")
        case _ if done < planned and not any(one.error for one in view.outcomes):
            rows = numbers.part_of(done, planned, "row", "has run", "have run")
            yield Content.styled(f"Not finished: {rows}.", "$warning")
    lines = view.proof.verdict.lines if view.proof is not None else ()
    for line in lines:
        yield Content("• " + printable(shortened(_with_labels(line, view), 1_000)))
    if not lines and view.phase == "saved":
        yield Content.styled("No row has run to its end.", MUTED)


def _with_labels(line: str, view: ProofView) -> str:
    """Return a sentence with files called as in the table."""
    for method in view.methods:
        if method.startswith("policy:"):
            line = line.replace(method, label_of(method))
    return line
