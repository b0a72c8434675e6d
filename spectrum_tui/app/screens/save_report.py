"""What every trainer would make of a recipe, said before it is written."""

from __future__ import annotations

from textual.content import Content

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core.recipes.check import deviation
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.spectrum import named
from spectrum_tui.core.recipes.writing import Files, is_list_of_names
from spectrum_tui.core.trainers.patterns import axolotl_rows
from spectrum_tui.core.trainers.recipe_text import RecipeText, with_pyyaml
from spectrum_tui.core.trainers.reports import TrainerReport, report
from spectrum_tui.core.trainers.trainers import TRAINERS, trainer_named

SHOWN = 3
"""Trainers that are named where they would train something else."""


def trainer_reports(choice: Choice, files: Files) -> tuple[TrainerReport, ...]:
    """A report for each trainer; empty where the file is no list of names, or the parameters of
    the model are not known. Takes 0.5 s for 60,000 parameters: not for the event loop."""
    parameters = choice.selection.result.parameters
    if not parameters or not is_list_of_names(files):
        return ()
    text = files[0].text
    if choice.experts:  # read by axolotl alone, which limits the rows of what is named
        wanted = [axolotl_rows(item)[0] for item in with_pyyaml(RecipeText(text))]
        return report(text, set(wanted), parameters, [trainer_named("axolotl")])
    wanted = named(choice.selection, choice.percent, head=choice.head)
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
    for one in wrong[:SHOWN]:
        words = printable(f"  {one.trainer.name} {deviation(one)}")
        lines.append(Content.styled(words, "$foreground 70%"))
    if len(wrong) > SHOWN:
        rest = ", ".join(one.trainer.name for one in wrong[SHOWN:])
        lines.append(Content.styled(f"  and otherwise too: {rest}", "$foreground 70%"))
    return Content("\n").join(lines)
