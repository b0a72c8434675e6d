"""LoRA in tiers as a Python script for Unsloth: the arguments of its `get_peft_model`.

How Unsloth reads them (2026.8.19, with unsloth_zoo 2026.8.13): `FastLanguageModel` in
`unsloth/models/llama.py` serves the classes in `FAST`, `FastModel` in `unsloth/models/vision.py`
all others. Each hands full names, `rank_pattern` and `alpha_pattern` on to PEFT's LoraConfig, but
the first would filter the names of a model that the second has loaded, and match none. After PEFT,
`unsloth_zoo/training_utils.py` freezes all but LoRA, heads of a task among it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.adapters import AdapterLayers, adapter_layers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import Targets, config_of
from spectrum_tui.core.recipes.peft_kinds import TiersKind
from spectrum_tui.core.recipes.peft_script import CHECK, OPTION, REVISION, listed
from spectrum_tui.core.recipes.spectrum import hub_id, model_class
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.results.results import Result

FAST = frozenset(
    f"{name}ForCausalLM" for name in ("Llama", "Mistral", "Gemma", "Gemma2", "Qwen2", "Qwen3")
)
"""Classes that FastLanguageModel has code of its own for."""
_SCRIPT = '''\
"""Put a LoRA adapter on the model with Unsloth and check how much trains."""

import argparse

from unsloth import {loader}  # before transformers and TRL, which it changes

{constants}

def load_model({parameters}, max_seq_length=2048):
    """The model with a new adapter, for any trainer, and its tokenizer: nothing else trains."""
    base, tokenizer = {loader}.from_pretrained(
        model,
{revision}        max_seq_length=max_seq_length,
        load_in_4bit={four_bit},
    )
    adapted = {loader}.get_peft_model(
        base,
{arguments}    )
{check}    return adapted, tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", {default}help="folder or id")
{option}    options = parser.parse_args()
    load_model({call})[0].print_trainable_parameters()
'''


class UnslothKind(TiersKind):
    """The adapters of `peft-tiers`, made by Unsloth."""

    name = "unsloth"
    title = "Unsloth script"
    purpose = "Adapters of two ranks by Unsloth"
    meaning = (
        "LoRA on both tiers by Unsloth's get_peft_model, with the higher rank where there is more "
        "signal; alpha is twice the rank. With --4bit, the file loads the model as QLoRA does."
    )
    tasks = ("text",)
    keeps = False

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the script; raises SelectionError for a choice that must not be written."""
        result = choice.selection.result
        refuse_other(result, self)
        if result.task_head:
            raise SelectionError(
                "Unsloth freezes the head of a task, which PEFT has added to what trains.",
                "Save peft-tiers.",
                field="kind",
            )
        targets = self.targets(choice)
        made = self.made(adapter_layers(choice.selection), choice)
        comments = "\n".join(self._comments(choice, targets).lines())
        ending = f"_{self.name}_{self._ending(choice)}.py"
        return (RecipeFile(ending, f"{comments}\n{_script(targets, result, made)}"),)

    def _notes(self, layers: AdapterLayers, choice: Choice) -> tuple[str, ...]:
        if model_class(layers.result.provenance) not in FAST:
            return ()
        return (
            "Unsloth prints of each name that it has not optimized for it. Its kernels do serve a "
            "block where all of q, k and v, or of gate, up and down, have adapters.",
        )


def _script(targets: Targets, result: Result, made: int) -> str:
    name = hub_id(result.provenance)
    by_weight = any(one.endswith(".weight") for one in targets.parameters)
    config = config_of(targets, result)
    return _SCRIPT.format(
        loader="FastLanguageModel" if model_class(result.provenance) in FAST else "FastModel",
        constants="\n".join([*_constants(config, result, made), ""]),
        parameters=("model=MODEL" if name else "model") + ("" if by_weight else ", four_bit=False"),
        revision=REVISION if name and result.provenance.revision else "",
        # A weight that PEFT adapts as a parameter must not be quantised.
        four_bit="False" if by_weight else "four_bit",
        arguments="".join(f"        {line},\n" for line in _arguments(config)),
        check=CHECK if made else "",
        default='nargs="?", default=MODEL, ' if name else "",
        option="" if by_weight else OPTION,
        call="options.model" if by_weight else "options.model, options.four_bit",
    )


def _constants(config: dict[str, Any], result: Result, made: int) -> Iterator[str]:
    name, revision = hub_id(result.provenance), result.provenance.revision
    if name:
        yield f"MODEL = {json.dumps(name)}"
        if revision:
            yield f"REVISION = {json.dumps(revision)}"
    yield f"MODULES = {listed(config['target_modules'])}"
    if parameters := config.get("target_parameters"):
        yield f"PARAMETERS = {listed(parameters)}"
    if ranks := config.get("rank_pattern"):
        yield "# Regular expressions; all other adapters have the rank below."
        yield "RANKS = {"
        yield from (f"    {json.dumps(one)}: {rank}," for one, rank in ranks.items())
        yield "}"
    if made:
        yield f"TRAINABLE = {made}"


def _arguments(config: dict[str, Any]) -> Iterator[str]:
    yield from (f"r={config['r']}", f"lora_alpha={config['lora_alpha']}", "lora_dropout=0.0")
    yield from ('bias="none"', "target_modules=MODULES")
    if "target_parameters" in config:
        yield "target_parameters=PARAMETERS"
    if "rank_pattern" in config:
        yield "rank_pattern=RANKS"
        yield "alpha_pattern={name: 2 * rank for name, rank in RANKS.items()}"
    if config["fan_in_fan_out"]:
        yield "fan_in_fan_out=True"
