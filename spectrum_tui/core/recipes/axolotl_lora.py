"""LoRA in tiers as keys of an axolotl config: exact targets, ranks, alphas, learning rates.

How axolotl reads them (0.18.0, July 2026): `src/axolotl/loaders/adapter.py` makes PEFT's LoraConfig
of the `lora_` keys, unchanged but for the task, which it takes from the name of the class;
`src/axolotl/core/trainers/mixins/optimizer.py` gives a tensor the learning rate of the first group
with a text that its name holds, except embeddings, heads and what has no weight decay.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.adapter_comments import folded
from spectrum_tui.core.recipes.adapters import adapter_layers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile
from spectrum_tui.core.recipes.peft_config import Targets, config_of, module_of
from spectrum_tui.core.recipes.peft_kinds import TiersKind
from spectrum_tui.core.recipes.peft_script import kept_apart
from spectrum_tui.core.recipes.tasks import refuse_other
from spectrum_tui.core.results.results import Result

LEARNING_RATE = 2e-4
LOWEST = 0.1
"""What the last layer of a type would have of it: that of `spectrum_tui.adapters.param_groups`."""
_RATES = (
    "A tier has the rate of the layer in its middle, where rates fall to a tenth from the first "
    "layer of a type to the last. Change all of them in proportion; they exclude "
    "loraplus_lr_ratio."
)
_PURPOSE = (
    "Keys for an axolotl config: they replace its keys of the same names. Beside them, no "
    "unfrozen_parameters (they would freeze the adapters), peft_layers_to_transform or "
    "lora_exclude_modules.",
)
_QLORA = """\
# As QLoRA:
# adapter: qlora
# load_in_4bit: true
# bnb_config_kwargs:
#   llm_int8_skip_modules:"""


class AxolotlLoraKind(TiersKind):
    """The adapters of `peft-tiers`, under axolotl's keys."""

    name = "axolotl-lora"
    title = "axolotl LoRA"
    purpose = "Adapters of two ranks for axolotl"
    meaning = (
        "LoRA on both tiers as keys of an axolotl config, with a learning rate for each tier. "
        "The higher rank and rate are where there is more signal."
    )
    tasks = ("text", "classes")

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the fragment; raises SelectionError for a choice that must not be written."""
        result = choice.selection.result
        refuse_other(result, self)
        if result.task_head and not choice.task_modules:
            raise SelectionError(
                "axolotl trains the head of a classifier, whatever its keys say.",
                "Select embeddings and heads too, or save peft-tiers.",
                field="kind",
            )
        targets = self.targets(choice)
        lines = [
            *self._comments(choice, targets).lines(),
            *(f"# {line}" for text in _PURPOSE for line in folded(text)),
            *_keys(targets, result),
            *self._rates(choice, targets),
            *_qlora(targets, result),
        ]
        ending = f"_{self.name}_{self._ending(choice)}.yaml"
        return (RecipeFile(ending, "\n".join([*lines, ""])),)

    def _rates(self, choice: Choice, targets: Targets) -> Iterator[str]:
        """Yield a learning rate for each tier that has layers."""
        layers = adapter_layers(choice.selection)
        high, _ = self.tiers(layers, choice)
        weights = layers.result.scores.parameters
        first = {name for row in high.nonzero()[0].tolist() for name in _names(weights[row][0])}
        tiers: dict[str, list[str]] = {"high": [], "medium": []}
        for name, text in _texts(targets, layers.result).items():
            tiers["high" if name in first else "medium"].append(text)
        yield from (f"# {line}" for line in folded(_RATES))
        yield f"learning_rate: {LEARNING_RATE:.7f}"
        yield "lr_groups:"
        middles = {"high": choice.percent / 2, "medium": (choice.percent + self.end(choice)) / 2}
        for tier, texts in tiers.items():
            if texts:
                rate = LEARNING_RATE * LOWEST ** (middles[tier] / 100)
                yield from (f"- name: {tier}", f"  lr: {rate:.7f}", "  modules:")
                yield from (f"  - {text}" for text in texts)


def _names(weight: str) -> tuple[str, str]:
    """Return what an adapter of a weight may be named by: its module, or itself."""
    return module_of(weight), weight


def _keys(targets: Targets, result: Result) -> Iterator[str]:
    config = config_of(targets, result)
    yield from (
        "adapter: lora",
        f"lora_r: {config['r']}",
        f"lora_alpha: {config['lora_alpha']}",
        "lora_dropout: 0.0",
        "lora_target_linear: false",
        f"lora_fan_in_fan_out: {json.dumps(config['fan_in_fan_out'])}",
    )
    for key in ("target_modules", "target_parameters", "modules_to_save"):
        yield from _listed(f"lora_{key}", config.get(key, []))
    for key in ("rank_pattern", "alpha_pattern"):
        yield from _mapped(f"lora_{key}", config.get(key, {}))


def _listed(key: str, items: list[str]) -> list[str]:
    return [f"{key}:", *(f"- {item}" for item in items)] if items else [f"{key}: []"]


def _mapped(key: str, values: dict[str, Any]) -> list[str]:
    """Return a mapping; its keys are names with a backslash before dots, which YAML takes plain."""
    lines = [f"  {name}: {value}" for name, value in values.items()]
    return [f"{key}:", *lines] if lines else [f"{key}: {{}}"]


def _texts(targets: Targets, result: Result) -> dict[str, str]:
    """{name of a target: the text that the tensors of its adapter hold and no others}.

    Where several parameters of one module have adapters, PEFT nests them: in the model's order,
    all but the last are behind one `base_layer.` more each.
    """
    texts = {module: f".{module}.lora_" for module in targets.modules}
    place = {name: at for at, name in enumerate(result.names)}
    nested: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(targets.parameters, key=lambda one: place.get(one, 0)):
        nested[name.rpartition(".")[0]].append(name)
    for module, names in nested.items():
        for behind, name in enumerate(reversed(names)):
            texts[name] = f".{module}.{'base_layer.' * behind}lora_"
    return texts


def _qlora(targets: Targets, result: Result) -> list[str]:
    return [_QLORA, *(f"#   - {name}" for name in kept_apart(targets, result))]
