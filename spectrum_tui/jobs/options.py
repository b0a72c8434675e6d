"""The options of a training job: its own, those of the trainer, and the names others have for
them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.jobs.values import Values, environment, given_values

ALIASES = {
    # AWS's args.yaml for Spectrum and its script of 2025, Hugging Face's and TRL's own scripts
    "model_id": "model",
    "model_name_or_path": "model",
    "model_revision": "revision",
    "train_dataset_path": "train",
    "test_dataset_path": "test",
    "spectrum_config_path": "recipe",
    "max_seq_length": "max_length",
    "torch_dtype": "dtype",
    # short ones
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
}
"""{another name of an option: its own}."""
_OF_ADAPTERS = ("lora_r", "lora_alpha", "lora_dropout", "merge_weights")
"""Settings of adapters: without adapters they change nothing."""
TASKS = ("sft", "dpo")
_DTYPES = ("bfloat16", "float16", "float32")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a job does. `trainer` holds what the trainer's configuration is made of, by its own
    names; `recipe` is a file of names in the place of those in the script."""

    model: str
    revision: str = ""
    train: str
    test: str = ""
    task: str = "sft"
    recipe: str = ""
    output_dir: str = "trained"
    checkpoint_dir: str = ""
    dtype: str = "bfloat16"
    resume: bool = True
    enable_spectrum: bool = True
    trainer: Mapping[str, Any]


OWN = {
    "model": "folder or Hugging Face id of the model",
    "revision": "its branch, tag or commit (the one that was scored)",
    "train": "a data file, or a folder of them",
    "test": "the same for evaluation",
    "task": "sft (texts, chats, prompts with completions) or dpo (preferences)",
    "recipe": "a YAML file of the names to train, in the place of those in the script",
    "output_dir": "where the trained model goes",
    "checkpoint_dir": "where checkpoints go (below output_dir)",
    "dtype": "type of the weights: bfloat16, float16, float32",
    "resume": "whether to go on from the last checkpoint of this job",
    "enable_spectrum": "false trains all of the model",
    "hf_token": "token for models that ask for one",
    "mlflow_uri": "tracking server of MLflow, with mlflow_experiment_name",
    "mlflow_experiment_name": "experiment that metrics are logged under",
    "config": "a YAML file of options; what the command line says counts more",
}
"""{option: what it is}."""


def read_options(
    arguments: Sequence[str],
    *,
    model: str = "",
    revision: str = "",
    tasks: Collection[str] = TASKS,
    dtype: str = "bfloat16",
) -> Options:
    """Return the options of a command line, below it a YAML file, below that a training job's
    channels and folders (`SM_…`), at last the `model` that was scored, at its `revision`. `dtype`
    is that of the weights where neither it nor bf16 is given.

    Raises InputError, one line. The environment gets HF_TOKEN and MLflow's variables.
    """
    values = _with_own_names(given_values(arguments))
    for name in _OF_ADAPTERS:
        values.pop(name, None)
    _refuse_adapters(values)
    values = {**_channels(model), **{name: v for name, v in values.items() if v != ""}}
    own: Values = {name: _text(name, values.pop(name)) for name in OWN if name in values}
    _export(own, values)
    for name in ("model", "train"):
        if not own.get(name):
            raise InputError(f"Nothing says {_MISSING[name]}.", f"Give --{name}, or a channel.")
    given = own.setdefault("dtype", _dtype(values, dtype))
    _one_of("dtype", given, _DTYPES)
    _one_of("task", own.setdefault("task", next(iter(tasks))), tasks)
    scored = revision if own["model"] == model else ""
    own["revision"] = own.get("revision") or scored or "main"
    below = str(Path(own["output_dir"]) / "checkpoints")
    own["checkpoint_dir"] = own.get("checkpoint_dir") or below
    for name in ("resume", "enable_spectrum"):
        own[name] = yes_or_no(name, own.get(name, True))
    return Options(**own, trainer=values)


_MISSING = {"model": "which model to train", "train": "where the data are"}


def help_text(opening: str) -> str:
    """Return what `--help` prints: it needs nothing heavy."""
    width = max(map(len, OWN))
    rows = [f"  --{name.replace('_', '-'):<{width}}  {words}" for name, words in OWN.items()]
    others = ", ".join(f"{other} ({own})" for other, own in ALIASES.items())
    return "\n".join(
        [
            opening.strip(),
            "",
            "options, with dashes or underscores:",
            *rows,
            "",
            "Every name of TrainingArguments and of TRL's SFTConfig or DPOConfig works too, as in",
            "--learning-rate 2e-5 --num-train-epochs 2 --per-device-train-batch-size 4",
            "--gradient-accumulation-steps 8 --save-steps 100 --fsdp full_shard. Other names that",
            f"are known: {others}.",
            "",
        ]
    )


def yes_or_no(name: str, given: Any) -> bool:
    """Return what a word means: true, false, yes, no, 1 or 0; raises InputError."""
    word = str(given).lower()
    if word not in _WORDS:
        raise InputError(f"{name} is {given!r}.", "Give true or false.", field=name)
    return _WORDS[word]


def closest(name: str, known: Collection[str]) -> str:
    """Return a question for what was probably meant, "" where nothing is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Do you mean {near[0]}?" if near else "See --help."


def _with_own_names(values: Values) -> Values:
    """Return the values by their own names: of two that mean the same, its own counts."""
    named: Values = {}
    for name, value in values.items():
        own = ALIASES.get(name, name)
        if own == name or own not in values:
            named[own] = value
    return named


def _refuse_adapters(values: Values) -> None:
    for name in ("enable_lora", "enable_quantization"):
        if yes_or_no(name, values.pop(name, False)):
            raise InputError(
                f"{name} is true, but this script trains whole layers.",
                "Write an adapter: spectrum-tui export --as peft-lora.",
                field=name,
            )


def _channels(model: str) -> Values:
    """Return what a training job puts in the place of options."""
    return {
        "model": environment("SM_CHANNEL_MODEL") or model,
        "train": environment("SM_CHANNEL_TRAIN", "SM_CHANNEL_TRAINING"),
        "test": environment("SM_CHANNEL_TEST", "SM_CHANNEL_VALIDATION"),
        "recipe": environment("SPECTRUM_CONFIG_PATH"),
        "output_dir": environment("SM_MODEL_DIR") or "trained",
        "checkpoint_dir": environment("SM_OUTPUT_DATA_DIR"),
    }


def _text(name: str, value: Any) -> str:
    if isinstance(value, (Mapping, list)):
        raise InputError(f"{name} is not a plain value.", "Give a text.", field=name)
    return os.path.expandvars(str(value))


def _export(own: Values, values: Values) -> None:
    """Put into the environment what libraries read there: neither may stand in a log."""
    if token := own.pop("hf_token", ""):
        os.environ["HF_TOKEN"] = token
    server, experiment = own.pop("mlflow_uri", ""), own.pop("mlflow_experiment_name", "")
    if server and experiment:
        os.environ["MLFLOW_TRACKING_URI"] = server
        os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment
        values.setdefault("report_to", "mlflow")


def _dtype(values: Values, usual: str) -> str:
    """Return the type of the weights where none is named: float32 where bf16 is switched off."""
    return usual if yes_or_no("bf16", values.get("bf16", True)) else "float32"


def _one_of(name: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise InputError(f"There is no {name} {given!r}.", f"There is {', '.join(known)}.")
