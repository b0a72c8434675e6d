"""A 4-bit base whose high tier stays out of quantisation and trains whole, the medium by LoRA."""

from __future__ import annotations

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.adapters import adapter_layers, adapter_parameters
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import config_text, targets_of
from spectrum_tui.core.recipes.peft_script import Script, two_files

NAME = "peft-hybrid"
NOTES = (
    "KEEP names what bitsandbytes leaves in 16 bits: the layers that train whole (PEFT trains a "
    "copy of each and keeps the original), and linear modules outside the blocks.",
    "To load a saved adapter: PeftModel.from_pretrained(load_base(model), folder).",
)


def files(choice: Choice) -> tuple[RecipeFile, ...]:
    """`modules_to_save` for the high tier, adapters of the medium rank for the medium one.

    PEFT needs at least one adapter, so an empty medium tier is refused. Fused experts are no
    modules, which alone can train whole: those of the high tier get adapters of the high rank.
    """
    layers = adapter_layers(choice.selection)
    tiers, end = choice.tiers, choice.medium_end
    high, medium = layers.tiers(choice)
    whole = layers.whole(high)
    if not whole.any():
        raise SelectionError(
            f"The top {choice.percent} % hold no linear module that could train whole.",
            "Raise the percentage, or save peft-tiers.",
            field="top_percent",
        )
    if not (medium.any() or (high & ~whole).any()):
        raise SelectionError(
            f"From {choice.percent} to {end} % there is no layer for LoRA, which PEFT needs.",
            "Raise the end of the medium tier: --medium-percent, or a on the results.",
            field="medium_percent",
        )
    ranked = [(high & ~whole, tiers.high_rank), (medium, tiers.medium_rank)]
    targets = targets_of(layers, ranked, whole, head=choice.head)
    opening = (
        f"4-bit base; the top {choice.percent} % of each layer type train whole, those from there "
        f"to {end} % by LoRA of rank {tiers.medium_rank}"
    )
    experts = f"Fused experts of the top {choice.percent} % get LoRA of rank {tiers.high_rank}."
    notes = (*NOTES, experts) if (high & ~whole).any() else NOTES
    count = adapter_parameters(choice, NAME)
    script = Script(layers, targets, count, opening, end, always_4bit=True, notes=notes)
    stem = f"_{NAME}_{choice.percent}-{end}percent"
    return two_files(stem, config_text(targets, layers.result), script.text())
