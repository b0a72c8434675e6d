"""How trainers read a recipe and what they unfreeze by it: typed again from what they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any
from unittest.mock import patch

import torch
import yaml

from spectrum_tui import freeze

Reader = Callable[[str], list[str]]
Matcher = Callable[[str, str], bool]


@lru_cache(maxsize=1)
def parsed(text: str) -> list[str]:
    """Read once for the five of them that parse it: a long recipe takes 30 ms."""
    return list(yaml.safe_load(text)["unfrozen_parameters"])


def after_dashes(text: str) -> list[str]:
    return [line.split("- ")[1] for line in text.splitlines() if line.startswith("- ")]


def after_dashes_stripped(text: str) -> list[str]:
    found = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("- "):
            found.append(line[2:].strip())
    return found


def at_the_beginning(pattern: str, name: str) -> bool:
    return re.match(pattern, name) is not None


def somewhere(pattern: str, name: str) -> bool:
    return re.search(pattern, name) is not None


def inside(pattern: str, name: str) -> bool:
    return pattern in name


def axolotls(pattern: str, name: str) -> bool:
    bracket = re.match(r"^(.+)\[([0-9]*)(?::([0-9]*))?\]$", pattern)
    plain = bracket.group(1) if bracket else pattern
    return re.match(re.sub(r"\.(?!\+)", r"\\.", plain), name) is not None


def mixed(pattern: str, name: str) -> bool:
    is_regex = pattern.startswith("^") or pattern.endswith("$")
    return somewhere(pattern, name) if is_regex else pattern in name


def begins(pattern: str, name: str) -> bool:
    return name.startswith(pattern)


ORACLES: dict[str, tuple[Reader, Matcher]] = {
    "axolotl": (parsed, axolotls),
    "TRL tutorial": (after_dashes, at_the_beginning),
    "AWS sft.py": (after_dashes_stripped, at_the_beginning),
    "Soup": (parsed, somewhere),
    "DistillKit": (parsed, inside),
    "Spectrum README": (after_dashes, inside),
    "prefix forks": (parsed, begins),
    "mixed forks": (parsed, mixed),
}
"""Under the names that the program has for them."""


def trainable(model: Any, patterns: Sequence[str], matches: Matcher) -> set[str]:
    """Freeze the model, unfreeze what the patterns match, and look at what has become of it."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if any(matches(pattern, name) for pattern in patterns):
            parameter.requires_grad_(True)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_every_trainer(model: Any, text: str) -> dict[str, set[str]]:
    """{trainer: the names that train by this recipe}."""
    return {
        name: trainable(model, read(text), matches) for name, (read, matches) in ORACLES.items()
    }


def of_swift(model: Any, text: str) -> set[str]:
    """The names that train by ms-swift's own keys: `full` with a ratio to freeze from the front,
    then what begins with an entry is unfrozen."""
    keys = yaml.safe_load(text)
    assert keys["tuner_type"] == "full"
    parameters = list(model.parameters())
    model.requires_grad_(True)
    frozen = int(sum(p.numel() for p in parameters) * float(keys["freeze_parameters_ratio"]))
    ends = accumulate(p.numel() for p in parameters)
    for parameter, end in zip(parameters, ends, strict=True):
        if end <= frozen:
            parameter.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if any(name.startswith(entry) for entry in keys["trainable_parameters"]):
            parameter.requires_grad_(True)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_llama_factory(model: Any, text: str) -> set[str]:
    """The names that train by LLaMA-Factory's freeze tuning."""
    keys = yaml.safe_load(text)
    assert keys["finetuning_type"] == "freeze"
    config = getattr(model.config, "text_config", model.config)
    count, n = config.num_hidden_layers, int(keys["freeze_trainable_layers"])
    blocks = range(max(0, count - n), count) if n > 0 else range(min(-n, count))
    modules = str(keys["freeze_trainable_modules"]).split(",")
    texts = [f".{i}.{'' if part == 'all' else part}" for part in modules for i in blocks]
    texts += str(keys.get("freeze_extra_modules") or "").split(",")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in texts if part))
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_freeze_except(model: Any, text: str) -> set[str]:
    """The names that train by our own reader of recipes.

    No optimizer is looked for, among all objects: there is none, as `test_freeze` is for.
    """
    with patch.object(freeze, "check_not_too_late"):
        freeze.freeze_except(model, parsed(text))
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def embeddings(model: Any) -> set[str]:
    """The names of the model's input and output embeddings, as the model itself knows them."""
    found: set[int] = set()
    for part in (model.get_input_embeddings, model.get_output_embeddings):
        try:
            module = part()
        except NotImplementedError:
            continue
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.nn.Parameter) and weight.ndim == 2:
            found.add(id(module.weight))
    return {name for name, parameter in model.named_parameters() if id(parameter) in found}
