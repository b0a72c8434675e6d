"""One adapter for each group of similar neighbours: a heuristic, and labelled as one.

PEFT has no setting for it: the modules' adapters are made one after another and then tied.
"""

from __future__ import annotations

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.recipes.adapters import AdapterLayers, adapter_layers, adapter_parameters
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import config_text, module_of, targets_of
from spectrum_tui.core.recipes.peft_script import Script, two_files
from spectrum_tui.core.results.results import BoolArray

NAME = "peft-groups"
NOTES = (
    "A saved adapter holds a copy of the shared one for each module. To go on training from it, "
    "call share(PeftModel.from_pretrained(load_base(model), folder, is_trainable=True)).",
)


def files(choice: Choice) -> tuple[RecipeFile, ...]:
    """Adapters of the high rank on the high tier, tied within groups."""
    layers = adapter_layers(choice.selection)
    high, _ = layers.tiers(choice)
    rank = choice.tiers.high_rank
    targets = targets_of(layers, [(high, rank)], head=choice.head)
    shared = groups(layers, high)
    if not shared:
        raise SelectionError(
            f"Among the top {choice.percent} % no two neighbours are similar: none would share.",
            "Raise the percentage, or save peft-lora, which would be the same.",
            field="top_percent",
        )
    measure = (
        "A group is a heuristic: a run of selected layers of one type and size, none between them, "
        f"each with the one before it: {layers.measure()}."
    )
    opening = (
        f"LoRA of rank {rank} on the top {choice.percent} % of each layer type, one adapter for "
        f"each of {counted(len(shared), 'group')} of similar neighbours"
    )
    count = adapter_parameters(choice, NAME)
    notes = (measure, *NOTES)
    script = Script(layers, targets, count, opening, choice.percent, groups=shared, notes=notes)
    stem = f"_{NAME}_{choice.percent}percent"
    return two_files(stem, config_text(targets, layers.result), script.text())


def groups(layers: AdapterLayers, high: BoolArray) -> list[list[str]]:
    """The modules of every group of two or more, in the model's order."""
    weights = layers.result.scores.parameters
    sharing = layers.sharing(high)
    found: list[list[str]] = []
    for row in np.flatnonzero(high).tolist():
        module = module_of(weights[row][0])
        if sharing[row]:
            found[-1].append(module)
        else:
            found.append([module])
    return [group for group in found if len(group) > 1]
