"""Every kind of recipe, in the order in which they are offered."""

from __future__ import annotations

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.recipes.axolotl import AxolotlKind
from spectrum_tui.core.recipes.axolotl_lora import AxolotlLoraKind
from spectrum_tui.core.recipes.choice import RecipeKind
from spectrum_tui.core.recipes.llama_factory import LlamaFactoryKind
from spectrum_tui.core.recipes.peft_kinds import ADAPTER_KINDS
from spectrum_tui.core.recipes.reference import ReferenceKind
from spectrum_tui.core.recipes.sagemaker import SagemakerKind
from spectrum_tui.core.recipes.spectrum import SpectrumKind
from spectrum_tui.core.recipes.swift import SwiftKind
from spectrum_tui.core.recipes.table import TABLES
from spectrum_tui.core.recipes.tasks import fits
from spectrum_tui.core.recipes.trainer import TrainerKind
from spectrum_tui.core.recipes.trl import TrlKind
from spectrum_tui.core.recipes.unsloth import UnslothKind
from spectrum_tui.core.results.results import Result

KINDS: tuple[RecipeKind, ...] = (
    SpectrumKind(),
    ReferenceKind(),
    AxolotlKind(),
    TrlKind(),
    SagemakerKind(),
    TrainerKind(),
    *ADAPTER_KINDS,
    AxolotlLoraKind(),
    UnslothKind(),
    SwiftKind(),
    LlamaFactoryKind(),
)
DEFAULT_KIND = KINDS[0]
OFFERED = (*KINDS, *TABLES)
"""What can be written: every recipe, and the table of the layers."""


def kinds_for(result: Result) -> tuple[RecipeKind, ...]:
    """Return what is offered for a model: a script for images is none for texts."""
    return tuple(kind for kind in OFFERED if fits(kind, result))


def kind_named(name: str) -> RecipeKind:
    """Return the kind of that name; raises InputError (field "kind") where there is none."""
    for kind in OFFERED:
        if kind.name == name:
            return kind
    raise InputError(
        f"There is no kind of recipe called {name!r}.",
        f"There are: {', '.join(kind.name for kind in OFFERED)}.",
        field="kind",
    )
