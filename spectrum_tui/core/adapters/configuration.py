"""What an adapter_config.json says, read as PEFT reads it, and what of it cannot be merged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from spectrum_tui.core.errors import AdapterError
from spectrum_tui.core.text import shortened
from spectrum_tui.core.trainers.safety import HazardError, worst_steps

KNOWN_TYPES = ("LORA",)
"""PEFT's types that are merged here."""
VARIANTS = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication",
    "monteclora_config", "use_bdlora", "use_qalora", "velora_config",
)  # fmt: skip
"""Settings of LoRA whose update is not s·B·A, or which PEFT itself does not merge."""
READ = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha"),
    *("rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out"),
    *("target_parameters", "modules_to_save", "trainable_token_indices", "init_lora_weights"),
}
"""Settings that say what is merged."""
WITHOUT_EFFECT = {
    *("auto_mapping", "peft_version", "inference_mode", "runtime_config", "lora_dropout"),
    # what is adapted or trained beside it, which the names of the tensors say
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("bias", "lora_bias", "ensure_weight_tying"),
    # of an adapter's beginning, or of a variant that is refused by its own switch
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"),
    *("megatron_config", "megatron_core"),
}
"""Settings that change nothing about what is merged."""
_KNOWN = READ | WITHOUT_EFFECT | set(VARIANTS)
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Ways to start that take something out of the base's weights: the adapter belongs to the rest."""
_ESCAPED = re.compile(r"(?:[\w-]|\\\W)+")
_LARGEST_RANK = 2**20
_LONGEST_NAME = 250
"""Characters of a name on which a regular expression is tried: three times those of any model."""


@dataclass(frozen=True)
class Patterns:
    """PEFT's `rank_pattern` or `alpha_pattern`: the first key that matches the end of a name, of
    parts between dots, counts (`get_pattern_key`, `re.match(rf"(.*\\.)?({key})$", name)`)."""

    values: Mapping[str, float]

    def of(self, name: str, default: float) -> float:
        """Return the value for a module or parameter; raises AdapterError for a pattern that is
        none, or that takes too long."""
        found = [self._exact[end] for end in _ends(name) if end in self._exact]
        first = min(found, default=len(self.values))
        for place, pattern in self._others:
            if place >= first or len(name) > _LONGEST_NAME:
                break
            if pattern.match(name):
                first = place
        return list(self.values.values())[first] if first < len(self.values) else default

    @cached_property
    def _exact(self) -> dict[str, int]:
        """{end of a name: its place} of the keys that are escaped names, as ours and PEFT's are:
        18,000 experts times as many patterns would take minutes to try one by one."""
        found: dict[str, int] = {}
        for place, key in enumerate(self.values):
            if _ESCAPED.fullmatch(key):
                found.setdefault(key.replace("\\", ""), place)
        return found

    @cached_property
    def _others(self) -> list[tuple[int, re.Pattern[str]]]:
        keys = enumerate(self.values)
        return [(place, _compiled(key)) for place, key in keys if not _ESCAPED.fullmatch(key)]


def _ends(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]


def _compiled(key: str) -> re.Pattern[str]:
    pattern = rf"(.*\.)?({key})$"
    try:
        worst_steps(pattern, _LONGEST_NAME)
        return re.compile(pattern)
    except (HazardError, re.error, OverflowError, RecursionError) as exc:
        raise AdapterError(
            f"The pattern {shortened(key, 100)!r} of the adapter's configuration cannot be tried: "
            f"{exc}.",
            "Write the names of the modules instead.",
        ) from None


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The fields of an adapter_config.json that tell what its tensors mean.

    `token_indices` are rows by the end of a module's name, "" for the input embeddings.
    """

    base: str
    revision: str
    rank: int
    alpha: float
    ranks: Patterns
    alphas: Patterns
    task: str = ""
    rank_stabilised: bool = False
    dora: bool = False
    fan_in_fan_out: bool = False
    target_parameters: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    token_indices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def rank_of(self, name: str) -> int:
        """Return the rank of the adapter of a module or parameter."""
        return int(self.ranks.of(name, self.rank))

    def scale_of(self, name: str, rank: int) -> float:
        """Return what B·A is multiplied by: alpha/rank, or alpha/√rank where it is
        rank-stabilised."""
        alpha = self.alphas.of(name, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def parameters_at(self, module: str) -> list[str]:
        """Return the parameters of a module that `target_parameters` name, as far as the names
        alone tell."""
        found = []
        for target in self.target_parameters:
            owner, _, leaf = target.rpartition(".")
            if not owner or module == owner or module.endswith(f".{owner}"):
                found.append(f"{module}.{leaf}")
        return sorted(set(found))

    def targets(self, parameter: str) -> bool:
        """Return whether `target_parameters` name this parameter."""
        targets = self.target_parameters
        return any(parameter == t or parameter.endswith(f".{t}") for t in targets)

    def saves(self, parameter: str) -> bool:
        """Return whether a parameter lies in a module that trained whole (`modules_to_save`)."""
        module = parameter.rpartition(".")[0]
        parts = module.split(".")
        owners = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return any(owner.endswith(self.modules_to_save) for owner in owners)


def parse_adapter_config(data: Any) -> AdapterConfig:
    """Return the content of an adapter_config.json; raises AdapterError for what is none, or is
    not merged here."""
    if not isinstance(data, Mapping):
        raise AdapterError("adapter_config.json holds no fields.", "Save the adapter again.")
    kind = data.get("peft_type")
    if kind not in KNOWN_TYPES:
        what = f"of the type {shortened(str(kind), 60)}" if kind else "of no type"
        raise AdapterError(
            f"The adapter is {what}, which is not known.",
            f"Known is {', '.join(KNOWN_TYPES)}, with DoRA, rsLoRA and whole modules.",
        )
    _check_mergeable(data)
    return AdapterConfig(
        base=_text(data, "base_model_name_or_path"),
        revision=_text(data, "revision"),
        rank=_rank(data.get("r"), "r"),
        alpha=_number(data.get("lora_alpha"), "lora_alpha"),
        ranks=Patterns({k: _rank(v, "rank_pattern") for k, v in _map(data, "rank_pattern")}),
        alphas=Patterns({k: _number(v, "alpha_pattern") for k, v in _map(data, "alpha_pattern")}),
        task=_text(data, "task_type"),
        rank_stabilised=bool(data.get("use_rslora")),
        dora=bool(data.get("use_dora")),
        fan_in_fan_out=bool(data.get("fan_in_fan_out")),
        target_parameters=_names(data, "target_parameters"),
        modules_to_save=_names(data, "modules_to_save"),
        token_indices=_token_indices(data.get("trainable_token_indices")),
    )


def _check_mergeable(data: Mapping[str, Any]) -> None:
    for name in VARIANTS:
        if data.get(name):
            raise AdapterError(
                f"The adapter was trained with {name}, which is not merged here.",
                "Merge it with PEFT, if PEFT can.",
            )
    unknown = [name for name, value in data.items() if value and name not in _KNOWN]
    if unknown:
        raise AdapterError(
            f"The adapter has the setting {shortened(unknown[0], 60)!r}, which is not known here: "
            "it may change what its tensors mean.",
            "Merge it with PEFT, or take the setting out where it changes nothing.",
        )
    start = str(data.get("init_lora_weights")).lower()
    if start.startswith(_CHANGE_THE_BASE):
        raise AdapterError(
            f"The adapter was started by {shortened(start, 30)}, which changes the weights that it "
            "belongs to.",
            "Save it as a plain LoRA first: PEFT's save_pretrained with "
            "path_initial_model_for_weight_conversion.",
        )


def _wrong(name: str, value: object) -> AdapterError:
    return AdapterError(
        f"{name} of the adapter's configuration is {shortened(repr(value), 60)}.",
        "Correct adapter_config.json, or save the adapter again.",
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _rank(value: object, name: str) -> int:
    if type(value) is not int or not 0 < value <= _LARGEST_RANK:
        raise _wrong(name, value)
    return value


def _number(value: object, name: str) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e30:  # type: ignore[arg-type]
        raise _wrong(name, value)
    return float(value)  # type: ignore[arg-type]


def _map(data: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    value = data.get(name) or {}
    if not isinstance(value, Mapping):
        raise _wrong(name, value)
    yield from value.items()


def _names(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = data.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _wrong(name, value)
    return tuple(value)


def _token_indices(value: object) -> dict[str, tuple[int, ...]]:
    if value is None or value == []:
        return {}
    by_module: Mapping[Any, Any] = value if isinstance(value, Mapping) else {"": value}
    for indices in by_module.values():
        if not isinstance(indices, list) or not all(
            type(one) is int and 0 <= one < 2**40 for one in indices
        ):
            raise _wrong("trainable_token_indices", value)
    return {str(module): tuple(indices) for module, indices in by_module.items()}
