"""LoRA on the selected layers and on no other: QLoRA with the adapters where the signal is."""

from __future__ import annotations

from spectrum_tui.core.recipes.adapters import adapter_layers, adapter_parameters
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import config_text, targets_of
from spectrum_tui.core.recipes.peft_script import Script, two_files

NAME = "peft-lora"


def files(choice: Choice) -> tuple[RecipeFile, ...]:
    """Adapters of the high rank on the high tier."""
    layers = adapter_layers(choice.selection)
    high, _ = layers.tiers(choice)
    rank = choice.tiers.high_rank
    targets = targets_of(layers, [(high, rank)], head=choice.head)
    opening = f"LoRA of rank {rank} on the top {choice.percent} % of each layer type"
    count = adapter_parameters(choice, NAME)
    script = Script(layers, targets, count, opening, choice.percent).text()
    stem = f"_{NAME}_{choice.percent}percent"
    return two_files(stem, config_text(targets, layers.result), script)
