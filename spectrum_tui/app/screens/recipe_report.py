"""What a recipe means for whoever uses it, under the list of files before they are written."""

from __future__ import annotations

from textual.content import Content

from spectrum_tui.app.screens.adapter_report import adapter_report
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.peft_kinds import AdapterKind
from spectrum_tui.core.recipes.reference import HEAD_LINES


def report(kind: RecipeKind, choice: Choice) -> Content:
    """A line for each thing worth knowing; empty where there is none."""
    lines = [Content.styled(f"! {line}", "$warning") for line in _cautions(kind, choice)]
    if isinstance(kind, AdapterKind):
        lines[:0] = adapter_report(kind, choice)
    return Content("\n").join(lines)


def _cautions(kind: RecipeKind, choice: Choice) -> list[str]:
    if kind.name == "spectrum-reference":
        return ["For comparing: not every trainer reads these names as it should", *_dead(choice)]
    if choice.experts:
        return ["Ranges of experts are read by axolotl alone"]
    return []


def _dead(choice: Choice) -> list[str]:
    """The head lines of the reference that name no parameter of this model."""
    names = set(choice.selection.result.names)
    dead = [line[3:-1] for line in HEAD_LINES if line[3:-1] not in names]
    return [f"This model has no {' and no '.join(dead)}"] if names and dead else []
