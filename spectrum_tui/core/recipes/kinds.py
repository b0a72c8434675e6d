"""Every kind of recipe, in the order in which they are offered."""

from __future__ import annotations

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.recipes import peft_groups, peft_hybrid, peft_lora, peft_tiers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import SpectrumYaml


def _spectrum(choice: Choice) -> tuple[RecipeFile, ...]:
    text = SpectrumYaml(choice.selection).text(choice.percent, head=choice.head)
    return (RecipeFile(f"_unfrozenparameters_{choice.percent}percent.yaml", text),)


KINDS = (
    RecipeKind(
        "spectrum",
        "Spectrum YAML",
        "Names to train, in the one form that every trainer reads alike",
        _spectrum,
    ),
    RecipeKind(
        peft_lora.NAME,
        "PEFT: LoRA on the selected layers",
        "Adapters of one rank; the rest stays frozen, in 4 bits if you like",
        peft_lora.files,
    ),
    RecipeKind(
        peft_tiers.NAME,
        "PEFT: LoRA by tiers",
        "A high rank for high scores, a low one for medium, none for low",
        peft_tiers.files,
    ),
    RecipeKind(
        peft_hybrid.NAME,
        "PEFT: 4-bit hybrid",
        "High scores train whole, medium by LoRA, the rest is 4-bit",
        peft_hybrid.files,
    ),
    RecipeKind(
        peft_groups.NAME,
        "PEFT: shared adapters",
        "One LoRA adapter for each group of similar neighbours (a heuristic)",
        peft_groups.files,
    ),
)
DEFAULT_KIND = KINDS[0]


def kind_named(name: str) -> RecipeKind:
    """The kind of that name; raises InputError (field "kind") where there is none."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise InputError(
        f"There is no recipe called {name!r}.",
        f"There are: {', '.join(kind.name for kind in KINDS)}.",
        field="kind",
    )
