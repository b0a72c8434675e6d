"""The configuration of a Trainer from what a job was given, with the defaults of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

from transformers import HfArgumentParser

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.numbers import is_real, is_whole
from spectrum_tui.core.text import shortened
from spectrum_tui.jobs.options import Options, closest, yes_or_no

CHECKPOINTING = "activation_checkpointing"
"""What transformers calls gradient checkpointing from 5.2x on; version 6 takes no other name."""
_OLD_CHECKPOINTING = "gradient_checkpointing"


def trainer_arguments(config: type, options: Options, **defaults: Any) -> Any:
    """Return the trainer's configuration, of the class `config` (TrainingArguments, SFTConfig, …).

    Whatever field of it was given counts, then `defaults` (fields that the class lacks are left
    out), then those of a job. Making it starts torch.distributed where there are several processes.
    Raises InputError for an unknown name, and for values that the class refuses.
    """
    known = {field.name for field in dataclasses.fields(config) if field.init}
    given = _checkpointing(dict(options.trainer), known)
    for name in given:
        if name not in known:
            raise InputError(f"There is no option {name}.", closest(name, known), field=name)
    if str(given.get("fsdp", "")).lower() in ("true", "false"):  # a text field: others are options
        given["fsdp"] = yes_or_no("fsdp", given["fsdp"])
    values = {**_checkpointing(_defaults(options, given, defaults), known), **given}
    return _made(config, {name: v for name, v in values.items() if name in known}, given)


def _defaults(
    options: Options, given: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what holds where nothing was given."""
    saves = "steps" if str(given.get("save_steps", "0")) != "0" else "no"
    return {
        "output_dir": options.checkpoint_dir,
        "per_device_eval_batch_size": given.get("per_device_train_batch_size", 1),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "logging_steps": 10,
        _OLD_CHECKPOINTING: True,
        # Reentrant checkpoints give no gradient to what lies above frozen embeddings.
        f"{_OLD_CHECKPOINTING}_kwargs": {"use_reentrant": False},
        "eval_strategy": "epoch" if options.test else "no",
        "save_strategy": saves,
        "report_to": "none",
        "bf16": options.dtype == "bfloat16" and _has_accelerator(),
        "use_cpu": not _has_accelerator(),
        **more,
    }


def _checkpointing(values: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Return the values with the old names of activation checkpointing as the class calls it."""
    for end in ("", "_kwargs"):
        old, new = _OLD_CHECKPOINTING + end, CHECKPOINTING + end
        if old in values and new in known:
            value = values.pop(old)
            values.setdefault(new, value)
        elif new in values and new not in known:
            values.setdefault(old, values.pop(new))
    return values


def _has_accelerator() -> bool:
    """Return whether there is a GPU of any make: without one, transformers must be told so."""
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available() or _is_xpu()


def _is_xpu() -> bool:
    import torch

    return hasattr(torch, "xpu") and torch.xpu.is_available()


class _Parser(HfArgumentParser):  # type: ignore[misc]  # transformers is not typed here
    """Says in one line what is wrong, instead of the usage of 200 options."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}.", "See --help.")


_LEAST = {
    "learning_rate": 0,
    "weight_decay": 0,
    "max_length": 1,
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
}
"""{option: the smallest value}: below it the training ends in a traceback, or cuts texts from the
wrong end."""
_MOST = 2**31 - 1
"""The largest whole number: torch counts batches and steps in what the machine counts in."""


def _check_numbers(parser: _Parser, given: Mapping[str, Any]) -> None:
    """Raise InputError for what YAML gave as another thing than the number that a field takes, and
    for numbers that no training can use."""
    kinds = {one.dest: one.type for one in parser._actions if one.nargs is None}
    for name, value in given.items():
        kind, number = kinds.get(name), _number(value)
        if kind not in (int, float) or number is None:  # the parser says what is wrong with a text
            continue
        hint = _whole_hint(name, number) if kind is int else _real_hint(name, number)
        if hint:
            raise InputError(f"{name} is {shortened(repr(value), 60)}.", hint, field=name)


def _whole_hint(name: str, number: object) -> str:
    """Return what to give in the place of a number, "" where it can be used."""
    if not is_whole(number):
        return "Give a whole number."
    least = _LEAST.get(name, -_MOST)
    if number < least:  # type: ignore[operator]
        return f"Give {least} or more."
    return f"Give {_MOST:,} at most." if number > _MOST else ""  # type: ignore[operator]


def _real_hint(name: str, number: object) -> str:
    if not is_real(number):
        return "Give a number."
    least = _LEAST.get(name)
    return f"Give {least} or more." if least is not None and number < least else ""  # type: ignore[operator]


def _number(value: Any) -> Any:
    """Return the number that a text holds, None where it holds none; of anything else, itself."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return None


def _made(config: type, values: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return the configuration; texts are read as the types of its fields, and numbers that were
    given are checked."""
    parser = _Parser(config, allow_abbrev=False)
    plain = [f"--{name}={value}" for name, value in values.items() if isinstance(value, str)]
    typed = {name: value for name, value in values.items() if not isinstance(value, str)}
    _check_numbers(parser, given)
    parser.set_defaults(**typed)
    try:
        (made,) = parser.parse_args_into_dataclasses(plain, look_for_args_file=False)
    except (ValueError, TypeError, KeyError, ImportError, RuntimeError, OSError) as error:
        raise InputError(
            f"{config.__name__} refuses this: {error}.", "Correct the option."
        ) from None
    return made
