"""Checkpoints that were saved from inside a wrapper, whose part is in every name.

`from_pretrained` finds none of its parameters under such names, and starts all of them from
random values with no more than a warning.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import takewhile

_INSIDE = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
"""Parts that stand for a wrapper wherever they are in a name."""
_BEFORE = {"module.": "DistributedDataParallel or DeepSpeed", "base_model.model.": "PEFT"}
"""Parts that stand for one at the beginning of a name: a model may have a `module` of its own."""
_ADAPTER = re.compile(r"\.(lora_\w+|base_layer|modules_to_save)\.")


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What is in the names: `part` as it is written, `by` which program, `pattern` to take it out
    with `re.sub`; `has_adapters` where adapters stand beside the weights that they belong to."""

    part: str
    by: str
    pattern: str
    has_adapters: bool = False

    def command(self, model_class: str, folder: str, output: str) -> str:
        """Return a shell command that saves the model of `folder` without the part, in `output`."""
        pattern, source, target = (
            json.dumps(text, ensure_ascii=False) for text in (self.pattern, folder, output)
        )
        code = (
            "import re; from pathlib import Path; from safetensors.torch import load_file; "
            f"from transformers import {model_class} as M; "
            f'tensors = {{re.sub({pattern}, "", n): t '
            f'for f in Path({source}).glob("*.safetensors") for n, t in load_file(f).items()}}; '
            f"M.from_pretrained(None, config=M.config_class.from_pretrained({source}), "
            f'state_dict=tensors, dtype="auto").save_pretrained({target})'
        )
        return f"python -c {shlex.quote(code)}"


def find_wrapping(stored: Collection[str], missing: Collection[str]) -> Wrapping | None:
    """Return the wrapper in most of the `stored` names, if any; `missing` are the parameters that
    the model has and the checkpoint does not."""
    parts = [part for part in _INSIDE if _most(f".{part}" in f".{name}" for name in stored)]
    before = _beginnings([_without(parts, name) for name in stored])
    if not parts and not before:
        return _common_beginning(stored, set(missing))
    by = " and ".join(
        program for part, program in (_BEFORE | _INSIDE).items() if part in (*before, *parts)
    )
    inside = [re.escape(part) for part in parts]
    beginning = [re.escape(part) for part in (*before, *parts)]
    patterns = [f"^(?:{'|'.join(beginning)})+", *inside] if before else inside
    adapters = any(_ADAPTER.search(name) for name in stored)
    return Wrapping("".join((*before, *parts)), by, "|".join(patterns), adapters)


def _beginnings(names: list[str]) -> list[str]:
    """Those of `_BEFORE` that most names begin with, one after the other."""
    for part in _BEFORE:
        if _most(name.startswith(part) for name in names):
            return [part, *_beginnings([name.removeprefix(part) for name in names])]
    return []


def _without(parts: Iterable[str], name: str) -> str:
    for part in parts:
        name = name.replace(part, "")
    return name


def _most(found: Iterable[object]) -> bool:
    each = [bool(one) for one in found]
    return 2 * sum(each) > len(each)


def _common_beginning(stored: Collection[str], missing: set[str]) -> Wrapping | None:
    """Return what all names begin with, where most of them are parameters without it."""
    if not stored:
        return None
    # What the first and the last in order share, all between them do.
    ends = (name.split(".")[:-1] for name in (min(stored), max(stored)))
    shared = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))]
    for count in range(1, len(shared) + 1):
        beginning = ".".join(shared[:count]) + "."
        if _most(name.removeprefix(beginning) in missing for name in stored):
            return Wrapping(beginning, "a model that holds this one", f"^{re.escape(beginning)}")
    return None
