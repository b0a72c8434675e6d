"""How trainers read a recipe and what they unfreeze by it: typed again from what they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
import yaml

from spectrum_tui.freeze import freeze_except

Reader = Callable[[str], list[str]]
Matcher = Callable[[str, str], bool]

READERS: dict[str, Reader] = {
    "PyYAML": lambda text: list(yaml.safe_load(text)["unfrozen_parameters"]),
    "lines": lambda text: [line[2:] for line in text.splitlines() if line.startswith("- ")],
}
MATCHERS: dict[str, Matcher] = {
    "match": lambda pattern, name: re.match(pattern, name) is not None,
    "search": lambda pattern, name: re.search(pattern, name) is not None,
    "substring": lambda pattern, name: pattern in name,
}


def trainable(model: Any, patterns: Sequence[str], matches: Matcher) -> set[str]:
    """Freeze the model, unfreeze what the patterns match, and look at what has become of it."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if any(matches(pattern, name) for pattern in patterns):
            parameter.requires_grad_(True)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_every_trainer(model: Any, text: str) -> dict[str, set[str]]:
    """{how a recipe is read and matched: the names that train by it}; the last is our own."""
    found = {
        f"{reader} {matcher}": trainable(model, read(text), matches)
        for reader, read in READERS.items()
        for matcher, matches in MATCHERS.items()
    }
    freeze_except(model, READERS["PyYAML"](text))
    found["freeze_except"] = {name for name, p in model.named_parameters() if p.requires_grad}
    return found


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
