"""Every trainer that is known to read `unfrozen_parameters`, and how it does.

Written down from what they do; the file is named where each can be read up. They differ in how
the file is read (a YAML parser, or lines that start with "- ") and in how a line is matched with
the names of `model.named_parameters()`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spectrum_tui.core.trainers import patterns, recipe_text
from spectrum_tui.core.trainers.recipe_text import RecipeText


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A way of reading a recipe.

    `read` gives the patterns of a text, or raises StopsError; `understand` says what one of them
    matches, `matching` the same in words. `of_nothing` is what trains without any pattern.
    `most` and `longest` are how many patterns, of how many characters, are accepted (0: any).
    """

    name: str
    read: Callable[[RecipeText], tuple[str, ...]]
    understand: patterns.Understand
    matching: str
    of_nothing: Literal["nothing", "everything"] = "nothing"
    most: int = 0
    longest: int = 0


TRAINERS = (
    # axolotl-ai-cloud/axolotl: src/axolotl/utils/freeze.py, src/axolotl/train.py
    Trainer(
        name="axolotl",
        read=recipe_text.with_pyyaml,
        understand=patterns.as_axolotl,
        matching="regular expression at the beginning, dots literal but for .+, rows in brackets",
        of_nothing="everything",
    ),
    # anakin87's TRL tutorial and philschmid's run_sft.py;
    # aws-samples/amazon-sagemaker-generativeai: train_spectrum.py, run_sft.py
    Trainer(
        name="TRL tutorial",
        read=recipe_text.by_dash,
        understand=patterns.at_start,
        matching="regular expression at the beginning",
    ),
    # aws-samples/amazon-sagemaker-generativeai: 0_model_customization_recipes, sft.py
    Trainer(
        name="AWS sft.py",
        read=recipe_text.by_stripped_dash,
        understand=patterns.at_start,
        matching="regular expression at the beginning",
    ),
    # Soup: utils/freeze.py, config/schema.py
    Trainer(
        name="Soup",
        read=recipe_text.with_pyyaml_nested,
        understand=patterns.anywhere,
        matching="regular expression anywhere",
        most=50_000,
        longest=512,
    ),
    # arcee-ai/DistillKit: freeze_student_spectrum
    Trainer(
        name="DistillKit",
        read=recipe_text.with_pyyaml_strictly,
        understand=patterns.substring,
        matching="text anywhere",
    ),
    # QuixiAI/spectrum: README.md
    Trainer(
        name="Spectrum README",
        read=recipe_text.by_dash,
        understand=patterns.substring,
        matching="text anywhere",
    ),
    # copies of the recipe that ask name.startswith(line)
    Trainer(
        name="prefix forks",
        read=recipe_text.with_pyyaml,
        understand=patterns.beginning,
        matching="text at the beginning",
    ),
    # copies of the recipe that search lines with ^ or $, and look for the others
    Trainer(
        name="mixed forks",
        read=recipe_text.with_pyyaml,
        understand=patterns.anchored_or_substring,
        matching="regular expression where it has ^ or $, else text anywhere",
    ),
)
"""In the order in which they are reported."""


def trainer_named(name: str) -> Trainer:
    """Return the trainer of that name; KeyError where there is none."""
    return {trainer.name: trainer for trainer in TRAINERS}[name]
