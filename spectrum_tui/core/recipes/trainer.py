"""A Python script for models that do not write text, with transformers' own Trainer.

The script is `scripts/train_with_trainer.py` of this package, with what it trains put in.
"""

from __future__ import annotations

from typing import ClassVar

from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.recipes.trl import filled


class TrainerKind(RecipeKind):
    """A training script for images, labels of texts, one text into another, and speech."""

    name = "trainer"
    title = "Trainer script"
    purpose = "Images, labels, seq2seq or speech"
    tasks: ClassVar[tuple[str, ...]] = ("images", "classes", "seq2seq", "speech")

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the script; raises SelectionError for a choice that must not be written."""
        purpose = refuse_other(choice.selection.result, self)
        recipe = SpectrumYaml(choice.selection)
        recipe.check(choice.policy)
        view = recipe.view(choice.policy)
        given = {"TASK": purpose.task}
        text = filled("train_with_trainer.py", choice.selection.result, view, given)
        return (RecipeFile(f"_trainer_{choice.policy.ending}.py", text),)
