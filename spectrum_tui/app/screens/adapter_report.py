"""What an adapter recipe trains, in the save dialog: how much, by which tiers, what is left out."""

from __future__ import annotations

from textual.content import Content

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.adapters import (
    REASONS,
    WITH_MEDIUM,
    AdapterCount,
    adapter_layers,
    adapter_parameters,
)
from spectrum_tui.core.recipes.choice import Choice


def adapter_report(kind: str, choice: Choice) -> list[Content]:
    """A line each on what trains, what of the selection does not, and where that is set."""
    count = adapter_parameters(choice, kind)
    percent = choice.medium_end if kind in WITH_MEDIUM else choice.percent
    left_out = adapter_layers(choice.selection).left_out(percent, head=choice.head)
    lines = [Content(_trains(kind, choice, count))]
    if heads := ", ".join(map(printable, choice.selection.result.task_modules)):
        words = "trains whole" if choice.head else "stays frozen"
        lines.append(Content(f"The head of the task {words}: {heads}"))
    lines += [
        Content.styled(f"{len(rows):,} selected {REASONS[place]} stay frozen", "$foreground 70%")
        for place, rows in left_out.items()
    ]
    return [*lines, Content.styled("Tiers and ranks: press a on the results", "$foreground 70%")]


def _trains(kind: str, choice: Choice, count: AdapterCount) -> str:
    tiers = choice.tiers
    high = f"{numbers.counted(count.high, 'layer')} " + (
        "whole" if kind == "peft-hybrid" else f"by rank {tiers.high_rank}"
    )
    medium = f", {count.medium:,} by rank {tiers.medium_rank}" if kind in WITH_MEDIUM else ""
    text = f"{high}{medium}"
    if count.parameters:
        share = f" ({numbers.percent(count.share)})" if count.share else ""
        text = f"{numbers.count(count.parameters)} parameters train{share}: {text}"
    return text
