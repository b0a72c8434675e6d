"""What a recipe means and what every trainer would make of it, said before it is written."""

from __future__ import annotations

from textual.content import Content

from spectrum_tui.app.screens.result_notes import Ties
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.adapter_kind import AdapterKind
from spectrum_tui.core.recipes.adapters import REASONS, AdapterCount, adapter_layers
from spectrum_tui.core.recipes.check import deviation
from spectrum_tui.core.recipes.choice import Choice, RecipeKind
from spectrum_tui.core.recipes.reference import EMBEDDING_LINES, ReferenceKind
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import Files, is_list_of_names
from spectrum_tui.core.trainers.patterns import axolotl_rows
from spectrum_tui.core.trainers.recipe_text import RecipeText, with_pyyaml
from spectrum_tui.core.trainers.reports import TrainerReport, report
from spectrum_tui.core.trainers.trainers import TRAINERS, trainer_named

TRAINERS_SHOWN = 3
"""Trainers that are named where they would train something else."""


def trainer_reports(choice: Choice, files: Files) -> tuple[TrainerReport, ...]:
    """Return a report for each trainer; empty where the file is no list of names, or the parameters
    of the model are not known. Takes 0.5 s for 60,000 parameters: not for the event loop."""
    parameters = choice.selection.result.parameters
    if not parameters or not is_list_of_names(files):
        return ()
    text = files[0].text
    if choice.experts:  # read by axolotl alone, which limits the rows of what is named
        wanted = [axolotl_rows(item)[0] for item in with_pyyaml(RecipeText(text))]
        return report(text, set(wanted), parameters, [trainer_named("axolotl")])
    wanted = named(choice.selection, choice.policy)
    return report(text, wanted, parameters, TRAINERS)


def trainers_text(choice: Choice, files: Files) -> Content:
    """One line where all trainers agree, else one for each of the first that do not."""
    reports = trainer_reports(choice, files)
    if not reports:
        return Content("")
    wrong = [one for one in reports if not one.exact]
    right, every = len(reports) - len(wrong), len(reports)
    wanted = reports[0].wanted
    counts = f"wanted {wanted:,}, matched {wanted:,}, unintended 0"
    summary = f"{right} of {every} trainers: {counts}" if every > 1 else f"axolotl: {counts}"
    if not wrong:
        return Content.styled(f"✓ {summary}", "$success")
    lines = [Content.styled(f"! {summary}", "$warning")]
    for one in wrong[:TRAINERS_SHOWN]:
        words = printable(f"  {one.trainer.name} {deviation(one)}")
        lines.append(Content.styled(words, "$foreground 70%"))
    if len(wrong) > TRAINERS_SHOWN:
        rest = ", ".join(one.trainer.name for one in wrong[TRAINERS_SHOWN:])
        lines.append(Content.styled(f"  and differently: {rest}", "$foreground 70%"))
    return Content("\n").join(lines)


def ties_text(choice: Choice) -> Content:
    """Say where the order in the file decides what trains, not the scores; empty where it does
    not."""
    text = Ties(choice.selection).text(choice.policy)
    return Content.styled(f"! {text}", "$warning") if text else Content("")


def kind_text(kind: RecipeKind, choice: Choice) -> Content:
    """Return a line for each thing worth knowing; empty where there is none."""
    lines = [Content.styled(f"! {line}", "$warning") for line in _cautions(kind, choice)]
    if isinstance(kind, AdapterKind):
        lines[:0] = _adapter_lines(kind, choice)
    return Content("\n").join(lines)


def _cautions(kind: RecipeKind, choice: Choice) -> list[str]:
    if isinstance(kind, ReferenceKind):
        return ["For comparison: not every trainer reads these names correctly", *_dead(choice)]
    if choice.experts:
        return ["Only axolotl reads ranges of experts"]
    return []


def _dead(choice: Choice) -> list[str]:
    """Return the head lines of the reference that name no parameter of this model."""
    names = set(choice.selection.result.names)
    dead = [line[3:-1] for line in EMBEDDING_LINES if line[3:-1] not in names]
    return [f"This model has no {' and no '.join(dead)}"] if names and dead else []


def _adapter_lines(kind: AdapterKind, choice: Choice) -> list[Content]:
    """Return a line each on what trains, what of the selection does not, and where that is set."""
    count = kind.count(choice)
    trains_head = bool(choice.task_modules)
    left_out = adapter_layers(choice.selection).left_out(
        choice.shape, kind.end(choice), embeddings=trains_head
    )
    lines = [Content(_trains(kind, choice, count))]
    if heads := ", ".join(map(printable, choice.selection.result.task_modules)):
        words = "trains whole" if trains_head else "stays frozen"
        lines.append(Content(f"The task head {words}: {heads}"))
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
