"""What an adapter recipe trains, in the save dialog: how much, by which tiers, what is left out."""

from __future__ import annotations

from textual.content import Content

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.adapters import REASONS, AdapterCount, adapter_layers
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.peft_kinds import AdapterKind


def adapter_report(kind: AdapterKind, choice: Choice) -> list[Content]:
    """A line each on what trains, what of the selection does not, and where that is set."""
    count = kind.count(choice)
    left_out = adapter_layers(choice.selection).left_out(kind.end(choice), head=choice.head)
    lines = [Content(_trains(kind, choice, count))]
    if heads := ", ".join(map(printable, choice.selection.result.task_modules)):
        words = "trains whole" if choice.head else "stays frozen"
        lines.append(Content(f"The head of the task {words}: {heads}"))
    lines += [
        Content.styled(f"{len(rows):,} selected {REASONS[place]} stay frozen", "$foreground 70%")
        for place, rows in left_out.items()
    ]
    return [*lines, Content.styled("Tiers and ranks: press a on the results", "$foreground 70%")]


def _trains(kind: AdapterKind, choice: Choice, count: AdapterCount) -> str:
    tiers = choice.tiers
    high = f"{numbers.counted(count.high, 'layer')} " + (
        "whole" if kind.keeps_high else f"by rank {tiers.high_rank}"
    )
    medium = f", {count.medium:,} by rank {tiers.medium_rank}" if kind.has_medium else ""
    text = f"{high}{medium}"
    if count.parameters:
        share = f" ({numbers.percent(count.share)})" if count.share else ""
        text = f"{numbers.count(count.parameters)} parameters train{share}: {text}"
    return text
