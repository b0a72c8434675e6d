"""Every kind of recipe, in the order in which they are offered."""

from __future__ import annotations

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.recipes import peft_kinds, peft_hybrid, peft_lora, peft_tiers
from spectrum_tui.core.recipes.axolotl import axolotl_files
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.reference import in_reference_types, reference_files
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.recipes.trl import trl_files


def _spectrum(choice: Choice) -> tuple[RecipeFile, ...]:
    text = SpectrumYaml(choice.selection).text(choice.percent, head=choice.head)
    return (RecipeFile(f"_unfrozenparameters_{choice.percent}percent.yaml", text),)


KINDS = (
    RecipeKind(
        "spectrum",
        "Spectrum YAML",
        "Names to train, as every trainer reads them alike",
        _spectrum,
    ),
    RecipeKind(
        "spectrum-reference",
        "Reference YAML",
        "Byte for byte what spectrum.py writes, to compare",
        reference_files,
        ranked=in_reference_types,
    ),
    RecipeKind(
        "axolotl",
        "axolotl fragment",
        "Names and the keys that go with them, to paste",
        axolotl_files,
        experts=True,
    ),
    RecipeKind(
        "trl",
        "TRL script",
        "Python that trains with TRL, in SageMaker too",
        trl_files,
    ),
    RecipeKind(
        peft_lora.NAME,
        "PEFT LoRA",
        "Adapters on the selected layers; (Q)LoRA",
        peft_lora.files,
    ),
    RecipeKind(
        peft_tiers.NAME,
        "PEFT tiers",
        "Adapters of a high rank and of a low one",
        peft_tiers.files,
    ),
    RecipeKind(
        peft_hybrid.NAME,
        "PEFT hybrid",
        "4-bit; the best train whole, the next by LoRA",
        peft_hybrid.files,
    ),
    RecipeKind(
        peft_kinds.NAME,
        "PEFT groups",
        "One adapter for similar neighbours (heuristic)",
        peft_kinds.files,
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
