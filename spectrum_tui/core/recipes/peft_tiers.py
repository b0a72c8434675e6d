"""LoRA by tiers: high SNR a high rank, medium a low one, low stays frozen."""

from __future__ import annotations

from spectrum_tui.core.recipes.adapters import adapter_layers, adapter_parameters
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import config_text, targets_of
from spectrum_tui.core.recipes.peft_script import Script, two_files

NAME = "peft-tiers"


def files(choice: Choice) -> tuple[RecipeFile, ...]:
    """Adapters of two ranks. alpha is twice the rank of each, so that both are scaled alike."""
    layers = adapter_layers(choice.selection)
    tiers, high_end, end = choice.tiers, choice.percent, choice.medium_end
    high, medium = layers.tiers(choice)
    targets = targets_of(
        layers, [(high, tiers.high_rank), (medium, tiers.medium_rank)], head=choice.head
    )
    opening = (
        f"LoRA of rank {tiers.high_rank} on the top {high_end} % of each layer type, of rank "
        f"{tiers.medium_rank} from there to {end} %"
    )
    count = adapter_parameters(choice, NAME)
    script = Script(layers, targets, count, opening, end).text()
    stem = f"_{NAME}_{high_end}-{end}percent"
    return two_files(stem, config_text(targets, layers.result), script)
