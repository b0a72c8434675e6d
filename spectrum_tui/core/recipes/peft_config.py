"""A PEFT `LoraConfig` with exact names, checked by PEFT's own rules of matching.

`LoraConfig(**json.load(file))` takes the file as it is. How PEFT matches (0.21, `tuners_utils.py`
and `utils/other.py`): a target is a module of that name or one that ends with `.` and it; a key of
`rank_pattern` or `alpha_pattern` is a regular expression on the end of a name, of parts between
dots, and the first that fits counts; a name in `modules_to_save` is any end of a module's name,
even within a part.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.layer_types import is_input_embedding
from spectrum_tui.core.recipes.adapters import AdapterLayers, Place
from spectrum_tui.core.recipes.spectrum import model_class
from spectrum_tui.core.results.policy import STEPS_OF_A_PERCENT
from spectrum_tui.core.results.results import BoolArray, IntArray, Result
from spectrum_tui.core.results.selection import NEVER
from spectrum_tui.core.trainers.patterns import NAME

ALPHA = 2
"""lora_alpha for each rank: every tier's update is scaled by the same factor."""
CLASS_TASKS = (
    ("ForSequenceClassification", "SEQ_CLS"),
    ("ForTokenClassification", "TOKEN_CLS"),
    ("ForQuestionAnswering", "QUESTION_ANS"),
)
"""(how the name of a class with a head of a task ends, what PEFT calls the task)."""
_CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_CROSS_ATTENTION = re.compile(r"\.(encoder_attn|EncDecAttention)\.")


@dataclass(frozen=True)
class Targets:
    """What an adapter is made of, each under its exact name: {module: rank}, {parameter: rank},
    and the modules that train whole, among them the `heads` of the task."""

    modules: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    whole: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of every adapter."""
        return {**self.modules, **self.parameters}


def targets_of(
    layers: AdapterLayers,
    ranked: Iterable[tuple[BoolArray, int]],
    whole: BoolArray,
    *,
    heads: tuple[str, ...],
    limit: IntArray,
) -> Targets:
    """Return the targets of (layers, rank of their adapters), of the layers that train whole, and
    of the modules of the head of a task, which train whole, too. `limit` are the steps that
    select each layer.

    Raises SelectionError where there is nothing to adapt or a name would match another module.
    """
    ranks = np.zeros(len(layers.place), np.int64)
    for mask, rank in ranked:
        ranks[mask] = rank
    weights = layers.result.scores.parameters
    modules: dict[str, int] = {}
    parameters: dict[str, int] = {}
    for row in np.flatnonzero(ranks).tolist():
        if layers.place[row] == Place.MODULE:
            modules[module_of(weights[row][0])] = int(ranks[row])
        else:
            parameters[weights[row][0]] = int(ranks[row])
    kept = (*(module_of(weights[row][0]) for row in np.flatnonzero(whole).tolist()), *heads)
    targets = Targets(modules, parameters, kept, heads)
    if not targets.ranks:
        raise _nothing_to_adapt(limit)
    _check(targets, layers.result)
    return targets


def config_text(targets: Targets, result: Result) -> str:
    """Return the LoraConfig as JSON."""
    return json.dumps(config_of(targets, result), indent=2) + "\n"


def config_of(targets: Targets, result: Result) -> dict[str, Any]:
    """Return the arguments of the LoraConfig."""
    ranks = targets.ranks
    usual = min(ranks.values())
    others = {re.escape(name): rank for name, rank in ranks.items() if rank != usual}
    conv1d = {p.name for p in result.parameters if p.module == "conv1d"}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": task_type(result, embeddings=bool(targets.heads)),
        "r": usual,
        "lora_alpha": ALPHA * usual,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": bool(conv1d) and all(f"{n}.weight" in conv1d for n in targets.modules),
        "target_modules": list(targets.modules),
        "target_parameters": list(targets.parameters),
        "rank_pattern": others,
        "alpha_pattern": {name: ALPHA * rank for name, rank in others.items()},
        "modules_to_save": list(targets.whole),
    }
    optional = ("target_parameters", "rank_pattern", "alpha_pattern", "modules_to_save")
    return {key: value for key, value in config.items() if value or key not in optional}


def module_of(weight: str) -> str:
    """Return the module of a weight."""
    return weight.removesuffix(".weight")


def task_type(result: Result, *, embeddings: bool) -> str | None:
    """PEFT's task: which of its wrappers the model is put in; None is the one that fits any.

    Those of classifiers and of answers train the head, whatever they are told, and pass on tokens:
    they are for text whose `embeddings` trains.
    """
    name = model_class(result.provenance)
    task = next((task for ending, task in CLASS_TASKS if name.endswith(ending)), None)
    tables = len(result.embeddings) > len(result.task_head)
    if task:
        return task if embeddings and tables else None
    if any(_CROSS_ATTENTION.search(n) for n in result.names):
        text_to_text = any(n.rpartition(".")[0].endswith("shared") for n in result.names)
        return "SEQ_2_SEQ_LM" if text_to_text else None
    if not name:
        return None if result.task_head else "CAUSAL_LM"
    return "CAUSAL_LM" if _CAUSAL.search(name) else None


# -- checks ------------------------------------------------------------------------------------


def _nothing_to_adapt(limit: IntArray) -> SelectionError:
    least = int(limit.min(initial=NEVER)) / STEPS_OF_A_PERCENT
    if least > 100:
        return SelectionError(
            "None of these layers is a matrix that can take an adapter.",
            "Scan the attention and MLP types, or save the Spectrum YAML.",
        )
    return SelectionError(
        "This choice gives no layer an adapter.",
        f"The smallest percentage that selects one here is {least:g} %.",
        field="top_percent",
    )


def _check(targets: Targets, result: Result) -> None:
    """Raise SelectionError unless every name means itself and nothing else."""
    written = [*targets.ranks, *targets.whole]
    for name in written:
        if not NAME.fullmatch(name):
            raise SelectionError(
                f"The name {name!r} cannot be written to this file.",
                "PEFT reads names as patterns, and would match others or none.",
            )
    known = result.names
    if not known:
        return
    weights = {*known, *(module_of(name) for name in known), *targets.heads}
    for name in written:
        if name not in weights:
            raise SelectionError(
                f"{name} is not part of the model that a trainer would load.",
                "Scan the model again with this version of transformers.",
            )
    _check_ends(targets, {*known, *_modules(known)})


def _check_ends(targets: Targets, known: set[str]) -> None:
    backward = sorted(name[::-1] for name in known)
    adapted = {name: f".{name}" for name in targets.ranks}
    for name, end in {**adapted, **dict.fromkeys(targets.whole, "")}.items():
        meant = {name} if end else {name, *targets.whole}
        other = _longer(backward, (end or name)[::-1], meant)
        if other:
            raise SelectionError(
                f"PEFT would take {other} for {name} as well.",
                "One name ends with the other; save the Spectrum YAML instead.",
            )


def _longer(backward: list[str], prefix: str, meant: set[str]) -> str:
    """Return a name but those that are meant that, backward, begins with the prefix; "" without
    one."""
    for at in range(bisect_left(backward, prefix), len(backward)):
        if not backward[at].startswith(prefix):
            break
        if backward[at][::-1] not in meant:
            return backward[at][::-1]
    return ""


def _modules(names: Iterable[str]) -> Iterator[str]:
    """Every module that holds one of these parameters, however deep."""
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts)))


def outside_blocks(result: Result) -> list[str]:
    """Linear modules outside the blocks, the output head among them: what is named to
    bitsandbytes, which keeps a model's head as it is only as long as it is told nothing."""
    embeddings = {p.name for p in result.parameters if p.module == "embedding"}
    names = [n for one in result.embeddings for n in (one.name, *one.tied) if n not in embeddings]
    names += [p.name for p in result.parameters if p.module == "linear"]
    modules = (module_of(name) for name in names if name.endswith(".weight"))
    outside = [m for m in modules if not _in_a_block(m) and not is_input_embedding(m)]
    return list(dict.fromkeys(["lm_head", *outside]))


def _in_a_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))
